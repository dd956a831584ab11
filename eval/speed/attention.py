"""The attention kernels that a call runs: SDPA's choice, the head size, diffusers' dispatch.

One call is traced. Tracing CUDA kernels starts CUPTI, which may slow every later launch of the process, so it is done
only on request. The operators are traced on the host, without CUPTI.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from torch import nn
from torch.autograd import DeviceType

NAIVE = "naive"
_SDPA = re.compile(r"aten::_scaled_dot_product_(\w+)")
_PACKAGE = re.compile(r"(?!aten::)\w*(attn|attention|xformers|sage)\w*::\w+", re.IGNORECASE)  # such as flash_attn::...
_SHORT = {"flash_attention": "flash", "efficient_attention": "efficient", "cudnn_attention": "cudnn",
          "attention_math": "math", "flash_attention_for_cpu": "flash"}  # fmt: skip
# The first match of a CUDA kernel's name decides. FlashAttention 4 is written in CuTe, 3 is for Hopper only.
_KERNELS = {
    "flash4": re.compile(r"flash_?attn_?cute", re.IGNORECASE),
    "flash3": re.compile(r"FlashAttnFwdSm\d+"),
    "cudnn": re.compile(r"cudnn\w*sdpa"),
    "flash2": re.compile(r"flash_fwd"),
    "efficient": re.compile(r"fmha_cutlassF|AttentionKernel"),
}


class _Seen(Exception):
    """Ends a generation after its first denoiser call was traced."""


def attention_kernels(call: Callable[[], object], device: str, *, cuda_kernels: bool = False) -> list[str]:
    """The attention that `call` runs, each kind once, such as ["flash2 d=40", "flash2 d=80"]; d is the head size.

    "flash" (with its version on CUDA), "cudnn", "efficient" and "math" are SDPA's, "naive" is an explicit softmax
    matrix, "package::operator" is another package's. Empty if no attention is recognised.

    Args:
        call: the call to trace, already warmed up.
        device: where it runs.
        cuda_kernels: also read the names of the CUDA kernels. They show which version of FlashAttention ran. Of a CUDA
            graph only they are visible, without head sizes.
    """
    named = cuda_kernels and device != "cpu"
    # The raw events: torch.profiler builds Python objects for all of them, which takes longer than the call.
    recorder = torch.autograd.profiler.profile(
        use_device="cuda" if named else None, record_shapes=True, use_kineto=True
    )
    with torch.no_grad(), recorder as traced:
        call()
        if device != "cpu":
            torch.cuda.synchronize(device)
    events = traced.kineto_results.events()
    families = kernel_families(event.name() for event in events if event.device_type() != DeviceType.CPU)
    versions = [family for family in families if family.startswith("flash")]
    version = "+".join(versions) or _active_flash()
    found = {
        (version if kind == "flash" and device != "cpu" else kind, size)
        for kind, size in _operators(event for event in events if event.device_type() == DeviceType.CPU)
    }
    return [f"{kind} d={size}" for kind, size in sorted(found)] or families


def first_call_attention(module: nn.Module, generate: Callable[[], object], device: str) -> list[str]:
    """`attention_kernels` of the first call of `module` in `generate`, after which the generation is aborted.

    `module` may be compiled: the call is intercepted outside of the compiled code. Its `vars` are restored.
    """
    before = vars(module).get("_compiled_call_impl")
    inner = before or module._call_impl
    found: list[str] = []

    def traced(*args: Any, **kwargs: Any) -> None:
        found.extend(attention_kernels(lambda: inner(*args, **kwargs), device))
        raise _Seen

    module._compiled_call_impl = traced
    try:
        generate()
    except _Seen:
        pass
    finally:
        del module._compiled_call_impl
        if before is not None:
            module._compiled_call_impl = before
    return found


def attention_dispatch(module: nn.Module) -> str | None:
    """The backend that diffusers uses for the attention of `module`: DIFFUSERS_ATTN_BACKEND or `set_attention_backend`.

    None if no attention processor dispatches, as in U-Nets, which call SDPA themselves.
    """
    processors = [part.processor for part in module.modules() if hasattr(part, "processor")]
    asked = [processor._attention_backend for processor in processors if hasattr(processor, "_attention_backend")]
    active, _ = _AttentionBackendRegistry.get_active_backend()
    names = {str(getattr(name, "value", name)) for name in (active if one is None else one for one in asked)}
    return ", ".join(sorted(names)) or None


def kernel_families(names: Iterable[str]) -> list[str]:
    """The kinds of attention among CUDA kernels with these names."""
    found = {next((kind for kind, pattern in _KERNELS.items() if pattern.search(name)), None) for name in names}
    return sorted(found - {None})


def _operators(events: Iterable[Any]) -> Iterator[tuple[str, int]]:
    """Kind and head size of each attention operator among host events, without operators called by another one."""
    ends: dict[int, int] = {}  # by thread, the end of its last attention operator
    found = ((_kind(event.name()), event) for event in events)
    for kind, event in sorted(((kind, event) for kind, event in found if kind is not None), key=_began):
        thread = event.start_thread_id()
        if event.start_ns() >= ends.get(thread, 0):
            ends[thread] = event.end_ns()
            shapes = event.shapes()
            # [..., N, D]; for baddbmm its first factor, the second argument
            operand = shapes[1 if kind == NAIVE else 0] if shapes else []
            if operand:
                yield kind, operand[-1]


def _began(found: tuple[str, Any]) -> tuple[int, int]:
    """Sort key: an operator comes before those that it calls."""
    _, event = found
    return event.start_ns(), -event.end_ns()


def _kind(name: str) -> str | None:
    if name == "aten::baddbmm":  # scores of diffusers' AttnProcessor; nothing else in a denoiser calls it
        return NAIVE
    found = _SDPA.fullmatch(name)
    if found is not None:
        return _SHORT.get(found[1], found[1])
    return name if _PACKAGE.fullmatch(name) else None


def _active_flash() -> str:
    """The FlashAttention version torch uses: 2, or the choice of `torch.nn.attention.activate_flash_attention_impl`."""
    current = getattr(torch.nn.attention, "current_flash_attention_impl", lambda: None)()  # older torch: 2 only
    return f"flash{(current or 'FA2').removeprefix('FA')}"
