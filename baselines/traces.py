"""What another package leaves on a model, so that it can be taken off without a rest; and where its adapter's state is.

Packages put names of their own into modules' `vars`, and not all of them take them away again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from retom.sites import find_denoiser


@dataclass(eq=False)
class Traces:
    """Names that a package put into the `vars` of modules, and listeners beside them.

    Attributes:
        added: the names, by module.
        handles: of the listeners that were put on.
    """

    added: dict[nn.Module, set[str]]
    handles: list = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module, patch: Callable[[], object]) -> "Traces":
        """Call `patch` and note what it puts on the modules of `model`."""
        before = {module: set(vars(module)) for module in model.modules()}
        patch()
        return cls({module: set(vars(module)) - names for module, names in before.items()})

    def listen(self, module: nn.Module, listener) -> None:
        """Call `listener(module, args, kwargs)` before every forward of `module`; it must change nothing."""
        self.handles.append(module.register_forward_pre_hook(listener, with_kwargs=True))

    def clear(self) -> None:
        """Take listeners and names away; every module's `vars` are again what they were."""
        for handle in self.handles:
            handle.remove()
        for module, names in self.added.items():
            for name in names:
                vars(module).pop(name, None)


def state_of(pipe, attribute: str, method: str) -> Any:
    """What the adapter `method` keeps on the denoiser of `pipe` as `attribute`. ValueError where it is not applied."""
    denoiser = find_denoiser(pipe)
    state = vars(denoiser).get(attribute)
    if state is None:
        raise ValueError(f"the {type(denoiser).__name__} is not patched by {method}; call apply first")
    return state
