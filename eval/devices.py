"""Device names allowed in a configuration, and whether a device is available."""

import re

from eval.errors import RunError


def check_device_name(device: object) -> None:
    """ValueError if `device` is not an allowed name."""
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {device!r}")


def check_device(device: str) -> None:
    """RunError if `device` names a CUDA device that is not available."""
    if device == "cpu":
        return
    import torch  # imported late: checking the name must be fast

    if not torch.cuda.is_available():
        raise RunError(
            f"device={device} was requested but torch {torch.__version__} finds no CUDA device; use device=cpu, "
            "or check the driver and install a CUDA build of torch"
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise RunError(f"device={device} was requested but there are {torch.cuda.device_count()} CUDA devices, from 0")
