"""Builders of valid records for the tests of records and tables."""

from eval.records import RECORD_VERSION, make_protocol, pixel_hash, protocol_hash, status_of

NUMBERS = {"none": 37.5, "tomesd": 38.0, "retom": 35.0}


def make_config(
    method: str = "retom", model: str = "tiny", *, dtype: str = "float32", batch_size: int = 4, **options
) -> dict:
    return {
        "model": {"name": model, "kind": "tiny"},
        "sampler": {
            "scheduler": "pndm",
            "steps": 4,
            "guidance": 7.5,
            "height": 64,
            "width": 64,
            "dtype": dtype,
            "device": "cpu",
            "attention": "sdpa",
            "compile": False,
            "batch_size": batch_size,
        },
        "method": {"_target_": f"some.package.{method}", **options},
        "backend": "gather",
        "prompts": {"template": "A high quality photograph of a {class}.", "images_per_class": 2, "seed": 0},
    }


def make_metric(value: float | None, n_reference: int | None = 200, width: float = 1, **differences: float) -> dict:
    metric = {
        "value": value,
        "n": 100,
        "n_reference": n_reference,
        "interval": None if value is None else [value - width, value + 1.25 * width],
        "protocol": "features of a test",
        "differences": {
            name: {"value": change, "interval": [change - width / 2, change + width / 2]}
            for name, change in differences.items()
        },
    }
    return metric if value is not None else metric | {"reason": "the images are all one colour"}


def make_distance(fid: float) -> dict:
    metric = make_metric(fid, none=fid - NUMBERS["none"], tomesd=fid - NUMBERS["tomesd"])
    for name, difference in metric["differences"].items():
        difference["infinite"] = 0.9 * (fid - NUMBERS[name])
    return metric | {"half": {"value": fid + 4, "n": 50}, "infinite": fid - 4}


def make_timing(seconds: float, resumed: bool = False, others: float = 0.01) -> dict:
    raw = [seconds + 0.01 * step for step in range(-4, 5)]
    batches = [{"batch_size": 1, "seconds": raw, "median": seconds}]
    around = {"quiet": others <= 0.05, "others_cpu_share": others, "other_gpu_processes": None}
    return {"s_per_im": seconds, "batches": batches, "resumed": resumed, **around}


def shipped_id(method: str, config: dict) -> str:
    """The run id of the method without options, all else as in `config`."""
    return f"table1/{method}-{pixel_hash(config | {'method': make_config(method)['method']})}"


def make_record(
    method: str = "retom",
    *,
    experiment: str = "table1",
    profile: str = "real",
    status: str = "ok",
    model: str = "tiny",
    fid: float = 35.0,
    seconds: float = 2.17,
    invalid: int = 0,
    date: str = "2026-11-20T10:00:00+00:00",
    backend: str = "gather",
    **options,
) -> dict:
    timing = {"images": 20, "warmup": 2}
    config = make_config(method, model, **options) | {"backend": backend, "timing": timing}
    suffix = "_smoke" if profile == "smoke" else ""
    protocol = make_protocol(
        config,
        prompts_hash="a" * 64,
        reference_hash=None if status == "failed" else "b" * 64,
        metrics={"profile": profile, "networks": {"fid": "clean-fid"}},
        n=100,
        n_reference=None if status == "failed" else 200,
        device_name="AMD EPYC",
    )
    metrics = {
        f"fid{suffix}": make_distance(fid),
        f"kid{suffix}": make_metric(fid / 10000, width=0.001, none=(fid - NUMBERS["none"]) / 10000),
        f"clip{suffix}": make_metric(fid + 2.123456789, None, none=0.5),
        "ssim": make_metric(1.0 if method == "none" else 0.74, None),
    }
    failed = status == "failed"
    return {
        "record_version": RECORD_VERSION,
        "status": status if failed else status_of(100, invalid),
        "experiment": experiment,
        "method": method,
        "pixel_hash": pixel_hash(config),
        "config": config,
        "provenance": {
            "date": date,
            "git": {"sha": "c" * 40, "dirty": False, "reason": None},
            "torch": {"threads": 2},
            "run": {"model": {"weights": {"unet": "d" * 64}}, "attention_kernel": ["flash d=8", "flash d=16"]},
        },
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "merges": [{"site": "down.0", "grid": [32, 32], "tokens": 1024, "merged": 1024 if method == "none" else 512}],
        "metrics": {} if failed else metrics,
        "timing": None if failed else make_timing(seconds),
        "images": {
            "n": 100,
            "invalid": [{"key": f"{i:04d}_000", "why": "constant"} for i in range(invalid)],
            "foreign": [],
        },
        "error": {"sentence": "no space | left.", "traceback": "Traceback ..."} if failed else None,
    }
