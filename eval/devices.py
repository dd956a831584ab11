"""Which devices a configuration may name, and whether the one it names is there."""

import re

from eval.errors import RunError


def check_device_name(device: object) -> None:
    """ValueError where `device` is none that a configuration may name."""
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {device!r}")


def check_device(device: str) -> None:
    """RunError when `device` names a CUDA device that is not there."""
    if device == "cpu":
        return
    import torch  # only here: the name is checked where nothing may take seconds

    if not torch.cuda.is_available():
        raise RunError(
            f"device={device} was asked for but torch {torch.__version__} finds no CUDA device; use device=cpu, "
            "or check the driver and install a CUDA build of torch"
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise RunError(f"device={device} was asked for but there are {torch.cuda.device_count()} CUDA devices, from 0")
