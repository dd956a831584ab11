"""Loading without the bars and notes that diffusers and transformers print around it."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def silent_loading() -> Iterator[None]:
    """Errors alone are told within; what was set before comes back after it."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
