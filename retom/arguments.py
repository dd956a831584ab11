"""Reading the arguments of a module's call by their names."""

import inspect
from typing import Any

from torch import nn


class Arguments:
    """Where a module's `forward` takes its arguments, so that a call by position and one by keyword read the same."""

    def __init__(self, module: nn.Module):
        self.module = type(module).__name__
        self.places = {name: place for place, name in enumerate(inspect.signature(module.forward).parameters)}

    def first_of(self, *names: str) -> str:
        """The first of these that `forward` takes."""
        found = next((name for name in names if name in self.places), None)
        if found is None:
            raise ValueError(f"{self.module} must take {' or '.join(names)}, got {', '.join(self.places) or 'nothing'}")
        return found

    def get(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The argument of a call; None where it is not given or not known."""
        place = self.places.get(name)
        return args[place] if place is not None and place < len(args) else kwargs.get(name)

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a call by their names."""
        given = {name: args[place] for name, place in self.places.items() if place < len(args)}
        return {**given, **kwargs}
