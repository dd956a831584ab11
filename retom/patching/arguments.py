"""Read the arguments of a module call by name."""

import inspect
from typing import Any

from torch import nn


class Arguments:
    """The argument positions of a module's `forward`, so that positional and keyword calls read the same."""

    def __init__(self, module: nn.Module):
        self.module = type(module).__name__
        self.places = {name: place for place, name in enumerate(inspect.signature(module.forward).parameters)}

    def first_of(self, *names: str) -> str:
        """The first of these names that `forward` accepts; ValueError if it accepts none."""
        found = next((name for name in names if name in self.places), None)
        if found is None:
            raise ValueError(
                f"{self.module} must accept {' or '.join(names)}, got {', '.join(self.places) or 'nothing'}"
            )
        return found

    def get(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One argument of a call; None if it was not passed or `forward` does not accept it."""
        place = self.places.get(name)
        return args[place] if place is not None and place < len(args) else kwargs.get(name)

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a call, by name."""
        given = {name: args[place] for name, place in self.places.items() if place < len(args)}
        return {**given, **kwargs}
