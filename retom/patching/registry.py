"""Add hooks to modules and remove them, next to the hooks of diffusers and accelerate."""

import inspect
import types
from collections.abc import Callable
from typing import Any

from diffusers.hooks.hooks import HookRegistry, ModelHook
from torch import nn


class Hook(ModelHook):
    """A hook whose bound method replaces `forward`, so that it is copied and pickled with its module.

    The registry of diffusers would call it through a closure, which a copy of the module shares with its original, and
    would lose a hook on top of one that is removed (`disable_cache`). A bound method also lets blocks that are compiled
    one by one share graphs: `torch.compile` guards its function, not the hook that it belongs to.
    """

    module: nn.Module
    fn_ref: Any
    made_registry = False

    def __init__(self) -> None:
        ModelHook.__init__(self)

    @property
    def under(self) -> Callable[..., Any]:
        """The forward of the module below this hook."""
        forward: Callable[..., Any] = self.fn_ref.forward
        return forward

    def through(self, *args: Any, **kwargs: Any) -> Any:
        """Replaces the forward of the module."""
        return self.call(self.module, *args, **kwargs)

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the forward of the module between `pre_forward` and `post_forward`."""
        args, kwargs = self.pre_forward(module, *args, **kwargs)
        return self.post_forward(module, self.under(*args, **kwargs))


def register(module: nn.Module, hook: Hook, name: str) -> None:
    """Add a hook to a module, on top of its other hooks."""
    hook.module, hook.made_registry, under = module, "_diffusers_hook" not in vars(module), module.forward
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
    hook.fn_ref.forward, hook.fn_ref.original_forward = under, None
    module.forward = types.MethodType(_with_signature(under), hook)


def _with_signature(under: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of `Hook.through` with the signature of the forward that it replaces."""
    generic = Hook.through
    function = types.FunctionType(generic.__code__, generic.__globals__, generic.__name__)
    function.__doc__ = under.__doc__
    signature = inspect.signature(under)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(function)["__signature__"] = signature.replace(parameters=[own, *signature.parameters.values()])
    return function


def remove_hooks(model: nn.Module, names: tuple[str, ...]) -> None:
    """Remove the hooks of these names from every module and restore its `vars`."""
    for module in model.modules():
        registry = vars(module).get("_diffusers_hook")
        if registry is None:
            continue
        ours = {name: hook for name, hook in registry.hooks.items() if name in names}
        for name in ours:
            _remove(registry, name)
        if ours and not registry.hooks:
            # `remove_hook` leaves the registry and the original bound method on the instance. A forward that another
            # package set before is not removed.
            if _is_own(module, module.forward):
                vars(module).pop("forward", None)
            if any(hook.made_registry for hook in ours.values()):
                vars(module).pop("_diffusers_hook", None)


def _remove(registry: HookRegistry, name: str) -> None:
    """Remove one hook. A hook on top of it keeps its own `new_forward`, which diffusers would overwrite."""
    hook = registry.hooks[name]
    over = registry._fn_refs[registry._fn_refs.index(hook.fn_ref) + 1 :]
    upper = over[0] if over and over[0].original_forward is not None else None
    forward = None if upper is None else upper.forward
    registry.remove_hook(name, recurse=False)
    if upper is not None:
        upper.forward, upper.original_forward = forward, hook.fn_ref.forward


def check_removable(model: nn.Module, names: tuple[str, ...]) -> None:
    """ValueError if accelerate's hooks are on top of hooks of these names, which then cannot be removed."""
    for module in model.modules():
        registry, under = vars(module).get("_diffusers_hook"), vars(module).get("_old_forward")
        ours = registry is not None and any(name in names for name in registry.hooks)
        if ours and under is not None and not _is_own(module, under):
            raise ValueError(
                f"the {type(model).__name__} was offloaded by accelerate after it was patched; call "
                "pipe.remove_all_hooks(), then remove the patch, then offload again"
            )


def _is_own(module: nn.Module, forward: Callable[..., Any]) -> bool:
    """Whether `forward` is the method of the module's class."""
    return getattr(forward, "__func__", None) is type(module).forward
