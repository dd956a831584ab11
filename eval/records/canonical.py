"""The hashes that identify a run: of the options that change its pixels, and of the protocol of its numbers."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

EXACT = "float32"  # the default dtype, whose images do not depend on the batch
PIXEL_KEYS = ("model", "sampler", "method", "backend", "prompts")
PROTOCOL_KEYS = (
    "model",
    "sampler",
    "prompts_hash",
    "reference_hash",
    "metrics",
    "n",
    "n_reference",
    "device_name",
    "dtype",
    "attention",
)


def plain(value: Any, where: str = "config") -> Any:
    """Copy `value` into plain JSON and YAML data: dicts with string keys, lists, strings, finite numbers, bools, None.

    Tuples become lists and paths become strings. ValueError, naming the place, for anything else.
    """
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ValueError(f"{where} has the key {wrong[0]!r}; keys must be strings")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}; a number must be finite")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(
        f"{where} is a {type(value).__name__}; it must be plain data: a mapping, list, string, number, bool or null"
    )


def canonical_json(value: Any, where: str = "config") -> str:
    """One string per meaning: sorted keys, no spaces, integral floats as integers (1.0 is 1; true is not 1)."""
    return json.dumps(_integral(plain(value, where)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def mapping_or_empty(value: Any) -> Mapping:
    """`value` if it is a mapping, else an empty one, for optional or malformed parts of a record."""
    return value if isinstance(value, Mapping) else {}


def flat_options(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted name: {"window.down": 2, "ratio": 0.5}. A nested empty mapping remains a value."""
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat_options(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _integral(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def depends_on_batch(dtype: str) -> bool:
    """Whether images of a sampler's `dtype` depend on how many are generated together.

    float32: no, beyond float noise (methods that merge generate one image per call). float16, bfloat16: yes, always
    assumed. Rounding changes with the batch and decides near ties of every method that selects tokens.
    """
    return dtype != EXACT


def pixel_options(sampler: Mapping) -> dict:
    """The sampler's options that change images. `batch_size` is one only if images depend on it."""
    kept = depends_on_batch(sampler.get("dtype", EXACT))
    return {key: value for key, value in sampler.items() if kept or key != "batch_size"}


def pixel_hash(config: Mapping) -> str:
    """12 hexadecimal digits of the SHA-256 of the options that change pixels: model, sampler, method, backend, prompts.

    Of the sampler `pixel_options` count. Other keys of `config` (metrics, timing, reference, paths) do not.
    ValueError: a key is absent, or a value is not plain data.
    """
    absent = [key for key in PIXEL_KEYS if key not in config]
    if absent:
        raise ValueError(f"config has no {', '.join(absent)}; a run is identified by {', '.join(PIXEL_KEYS)}")
    if not isinstance(config["sampler"], Mapping):
        raise ValueError(f"config.sampler must be a mapping, got {config['sampler']!r}")
    chosen = {key: config[key] for key in PIXEL_KEYS}
    chosen["sampler"] = pixel_options(config["sampler"])
    return digest(canonical_json(chosen))


def make_protocol(config: Mapping, **facts: Any) -> dict:
    """The settings that two rows of one table must share, as plain data with the keys `PROTOCOL_KEYS`.

    `config` supplies model, sampler (`pixel_options`), dtype and attention; `facts` the others:
    prompts_hash, reference_hash (None while unknown), metrics (profile and networks), n, n_reference, device_name.
    """
    known = {
        "model": config["model"],
        "sampler": pixel_options(config["sampler"]),
        "dtype": config["sampler"].get("dtype"),
        "attention": config["sampler"].get("attention"),
        **facts,
    }
    wrong = sorted(set(known) ^ set(PROTOCOL_KEYS))
    if wrong:
        raise ValueError(
            f"a protocol has exactly the keys {', '.join(PROTOCOL_KEYS)}; wrong or absent: {', '.join(wrong)}"
        )
    return plain({key: known[key] for key in PROTOCOL_KEYS}, "protocol")


def protocol_hash(protocol: Mapping) -> str:
    """12 hexadecimal digits of the SHA-256 of the protocol. ValueError: a value is not plain data."""
    return digest(canonical_json(protocol, "protocol"))


def digest(text: str) -> str:
    """12 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
