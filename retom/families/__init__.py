"""Architectures that tokens can be merged in: one file for each, and those that users register or install."""

import functools
import warnings
from typing import TypeVar

from retom import extensions
from retom.families.base import Family, Positions, Read, Sublayer, sides
from retom.families.flux import Flux
from retom.families.pixart import PixArt
from retom.families.sd3 import SD3
from retom.families.unet import UNet

__all__ = ["Family", "Positions", "Read", "Sublayer", "families", "register", "served", "sides"]

_SHIPPED: tuple[Family, ...] = (UNet(), PixArt(), SD3(), Flux())
_registered: list[Family] = []
_Given = TypeVar("_Given", bound=Family)


def register(family: _Given) -> _Given:
    """Let `retom.apply_patch` serve an architecture of your own, for this process. Returns the family.

    Installed packages do not need this: they declare an entry point of the group "retom.families", which names an
    instance of `Family` or a subclass.

    Raises:
        ValueError: if it is not an instance of `retom.families.Family`, or its title is taken.
    """
    _check(family)
    taken = [other for other in (*_registered, *_SHIPPED) if other.title == family.title]
    if taken:
        raise ValueError(f"title must not be that of another family, got {family.title!r} of {type(taken[0]).__name__}")
    _registered.append(family)
    return family


def families() -> tuple[Family, ...]:
    """All families: registered, installed and shipped ones. The first whose `is_site` accepts a block serves it."""
    return (*_registered, *_installed(), *_SHIPPED)


def served() -> str:
    """The titles of all families, for messages."""
    *others, last = [family.title for family in (*_SHIPPED, *_registered, *_installed())]
    return f"{', '.join(others)}, and {last}"


@functools.cache
def _installed() -> tuple[Family, ...]:
    """The families of installed packages. A broken one is reported and left out, so that the others are served."""
    found: list[Family] = []
    for entry in extensions.declared(extensions.FAMILIES).values():
        try:
            family = extensions.load(entry)
            family = family() if isinstance(family, type) else family
            _check(family)
        except (ValueError, TypeError) as error:
            reason = (
                error
                if isinstance(error, extensions.ExtensionError)
                else extensions.refused(entry, f"is no family ({error})")
            )
            warnings.warn(f"{reason}; models of this family are refused", stacklevel=2)
        else:
            found.append(family)
    return tuple(found)


def _check(family: object) -> None:
    if not isinstance(family, Family):
        raise ValueError(f"family must be an instance of retom.families.Family, got {family!r}")
    for name in ("title", "parents", "blocks"):
        if not getattr(family, name, None):
            raise ValueError(f"the family {type(family).__name__} must define {name}")
