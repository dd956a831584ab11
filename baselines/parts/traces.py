"""Track what another package adds to a model, to remove all of it, and find the state of its adapter.

Packages add attributes to the `vars` of modules, and some do not remove them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from retom.patching.sites import find_denoiser


@dataclass(eq=False)
class Traces:
    """Attributes that a package added to the `vars` of modules, and listeners.

    Attributes:
        added: the names of the attributes, by module.
        handles: the handles of the listeners.
    """

    added: dict[nn.Module, set[str]]
    handles: list = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module, patch: Callable[[], object]) -> "Traces":
        """Call `patch` and record the attributes that it adds to the modules of `model`."""
        before = {module: set(vars(module)) for module in model.modules()}
        patch()
        return cls({module: set(vars(module)) - names for module, names in before.items()})

    def listen(self, module: nn.Module, listener) -> None:
        """Call `listener(module, args, kwargs)` before every forward of `module`. It must not change anything."""
        self.handles.append(module.register_forward_pre_hook(listener, with_kwargs=True))

    def clear(self) -> None:
        """Remove listeners and attributes, which restores the `vars` of every module."""
        for handle in self.handles:
            handle.remove()
        for module, names in self.added.items():
            for name in names:
                vars(module).pop(name, None)


def state_of(pipe, attribute: str, method: str) -> Any:
    """The state that the adapter `method` stored on the denoiser of `pipe`. ValueError if it is not applied."""
    denoiser = find_denoiser(pipe)
    state = vars(denoiser).get(attribute)
    if state is None:
        raise ValueError(f"the {type(denoiser).__name__} is not patched by {method}; call apply first")
    return state
