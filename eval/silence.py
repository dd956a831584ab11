"""Work without what libraries print around it: bars and notes of loading, lines of native code."""

import contextlib
import os
import sys
import tempfile
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


@contextlib.contextmanager
def without_lines(marker: str) -> Iterator[None]:
    """Lines with `marker` that native code writes to the error stream within are dropped; others come after it.

    For notes of C++ that no setting silences once torch is imported.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        stream = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stream, 2)
            os.close(stream)
            written.seek(0)
            for line in written:
                if marker.encode() not in line:
                    os.write(2, line)
