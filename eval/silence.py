"""Context managers that suppress output of libraries: progress bars, notes on loading, lines of native code."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def silent_loading() -> Iterator[None]:
    """Only errors are printed inside the block; earlier settings are restored after it."""
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
def silent_downloads() -> Iterator[None]:
    """No progress bar of huggingface_hub and no line per HTTP request; eval.downloads reports instead."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = not are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("httpx", "httpx2", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    if bars:
        disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
        if bars:
            enable_progress_bars()


@contextlib.contextmanager
def silent_building() -> Iterator[None]:
    """No log lines of open_clip's factory, which logs on the root logger, such as on random initialisation."""

    def other(record: logging.LogRecord) -> bool:
        return record.module != "factory" or "open_clip" not in record.pathname

    logging.root.addFilter(other)
    try:
        yield
    finally:
        logging.root.removeFilter(other)


@contextlib.contextmanager
def silent_tables() -> Iterator[None]:
    """No progress bar of `datasets` while it converts files."""
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    if bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def without_lines(marker: str) -> Iterator[None]:
    """Drops lines with `marker` that native code writes to the error stream; other lines are printed after the block.

    For messages of C++ code that no setting suppresses once torch is imported.
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
