"""The environment of a record by name: what its seconds, and the last bits of its images, depend on."""

import re
from collections.abc import Mapping

from eval.errors import RunError
from eval.records.canonical import depends_on_batch, mapping_or_empty


def environment(record: Mapping) -> str:
    """Such as amd-epyc_torch2.15.0_cpu_float32_sdpa, or nvidia-h100-80gb-hbm3_torch2.15.0_cuda13.2_float16_sdpa_batch4.

    Device, torch, CUDA, dtype, attention; "compiled" where the model was; the batch size where images depend on it.
    RunError: the record does not say them.
    """
    provenance, sampler = record["provenance"], mapping_or_empty(record["config"].get("sampler"))
    version = mapping_or_empty(mapping_or_empty(provenance.get("packages")).get("torch")).get("version")
    kind = mapping_or_empty(provenance.get("device")).get("type")
    cuda = mapping_or_empty(provenance.get("torch")).get("cuda")
    facts = {"packages.torch.version": version, "device.type": kind} | ({"torch.cuda": cuda} if kind == "cuda" else {})
    absent = [name for name, value in facts.items() if not isinstance(value, str) or not value]
    if absent:
        raise RunError(f"record.json: provenance.{absent[0]} is missing; run the row again with this harness")
    parts = [
        record["protocol"]["device_name"],
        f"torch{version.partition('+')[0]}",
        f"cuda{cuda}" if kind == "cuda" else kind,
        record["protocol"]["dtype"],
        record["protocol"]["attention"],
        *(["compiled"] if sampler.get("compile") else []),
        *([f"batch{sampler.get('batch_size')}"] if depends_on_batch(sampler.get("dtype")) else []),
    ]
    return "_".join(slug(str(part)) for part in parts)


def slug(text: str) -> str:
    """`text` as a part of a folder's name: lower case, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unknown"


def stated_device(record: Mapping) -> str | None:
    """The device's name as the record's provenance has it: the GPU's, or the processor's."""
    provenance = record["provenance"]
    device = mapping_or_empty(provenance.get("device"))
    place = mapping_or_empty(device.get("gpu")).get("name") if device.get("type") == "cuda" else None
    return place or mapping_or_empty(provenance.get("cpu")).get("model")
