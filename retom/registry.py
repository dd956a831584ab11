"""Putting hooks on modules and taking them off, beside those that diffusers and accelerate put there."""

import inspect
import types
from collections.abc import Callable
from typing import Any

from diffusers.hooks.hooks import HookRegistry, ModelHook
from torch import nn


class Hook(ModelHook):
    """A hook that is called as a method bound to it, so that it is copied and pickled with its module.

    The registry of diffusers would call it through a closure, which a copy of the module shares with its original, and
    would lose a hook over another that is removed (`disable_cache`). A bound method is also what lets blocks that are
    compiled one by one share their graphs: `torch.compile` guards its function and not which hook it belongs to.
    """

    module: nn.Module
    fn_ref: Any
    made_registry = False

    def __init__(self) -> None:
        ModelHook.__init__(self)

    @property
    def under(self) -> Callable[..., Any]:
        """The module's forward below this hook."""
        forward: Callable[..., Any] = self.fn_ref.forward
        return forward

    def through(self, *args: Any, **kwargs: Any) -> Any:
        """Stands for the module's forward."""
        return self.call(self.module, *args, **kwargs)

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The module's forward, with `pre_forward` before it and `post_forward` after it."""
        args, kwargs = self.pre_forward(module, *args, **kwargs)
        return self.post_forward(module, self.under(*args, **kwargs))


def register(module: nn.Module, hook: Hook, name: str) -> None:
    """Put a hook on a module, over those it has."""
    hook.module, hook.made_registry, under = module, "_diffusers_hook" not in vars(module), module.forward
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
    hook.fn_ref.forward, hook.fn_ref.original_forward = under, None
    module.forward = types.MethodType(_with_signature(under), hook)


def _with_signature(under: Callable[..., Any]) -> Callable[..., Any]:
    """`Hook.through` as a function of its own, which tells the signature of what it stands for."""
    generic = Hook.through
    function = types.FunctionType(generic.__code__, generic.__globals__, generic.__name__)
    function.__doc__ = under.__doc__
    told = inspect.signature(under)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(function)["__signature__"] = told.replace(parameters=[own, *told.parameters.values()])
    return function


def remove_hooks(model: nn.Module, names: tuple[str, ...]) -> None:
    """Take the hooks of these names off every module; its `vars` are again what they were."""
    for module in model.modules():
        registry = vars(module).get("_diffusers_hook")
        if registry is None:
            continue
        ours = {name: hook for name, hook in registry.hooks.items() if name in names}
        for name in ours:
            _remove(registry, name)
        if ours and not registry.hooks:
            # `remove_hook` leaves the registry and the original bound method on the instance. A forward that another
            # package put there before stays.
            if _is_own(module, module.forward):
                vars(module).pop("forward", None)
            if any(hook.made_registry for hook in ours.values()):
                vars(module).pop("_diffusers_hook", None)


def _remove(registry: HookRegistry, name: str) -> None:
    """Take one hook off. A hook over it keeps its own `new_forward`, which diffusers would overwrite."""
    hook = registry.hooks[name]
    over = registry._fn_refs[registry._fn_refs.index(hook.fn_ref) + 1 :]
    upper = over[0] if over and over[0].original_forward is not None else None
    forward = None if upper is None else upper.forward
    registry.remove_hook(name, recurse=False)
    if upper is not None:
        upper.forward, upper.original_forward = forward, hook.fn_ref.forward


def check_removable(model: nn.Module, names: tuple[str, ...]) -> None:
    """ValueError where accelerate's hooks lie over hooks of these names, which then cannot be taken from under them."""
    for module in model.modules():
        registry, under = vars(module).get("_diffusers_hook"), vars(module).get("_old_forward")
        ours = registry is not None and any(name in names for name in registry.hooks)
        if ours and under is not None and not _is_own(module, under):
            raise ValueError(
                f"the {type(model).__name__} was offloaded by accelerate after it was patched; call "
                "pipe.remove_all_hooks(), then remove the patch, then offload again"
            )


def _is_own(module: nn.Module, forward: Callable[..., Any]) -> bool:
    """Whether `forward` is the module's own, of its class."""
    return getattr(forward, "__func__", None) is type(module).forward
