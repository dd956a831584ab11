"""Checks that command line, files and terminal use UTF-8, with a one-line message if not."""

import codecs
import locale
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.errors import RunError


def check_encoding(arguments: Sequence[str]) -> None:
    """RunError if this process does not read and write UTF-8, or an argument is not UTF-8.

    Otherwise characters of prompts, class names and paths would be lost or changed, here or in a library.
    """
    for name in (locale.getpreferredencoding(False), sys.getfilesystemencoding(), _terminal()):
        if codecs.lookup(name).name != "utf-8":
            also = ", and unset PYTHONIOENCODING" if "PYTHONIOENCODING" in os.environ else ""
            raise RunError(
                f"text is encoded as {name} here, but prompts, configurations and records are UTF-8; set "
                f"LC_ALL=C.UTF-8 or PYTHONUTF8=1{also}"
            )
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise RunError(
                f"the argument {argument!a} is not UTF-8 at character {error.start + 1}; type it in a UTF-8 terminal"
            ) from error


def _terminal() -> str:
    """The encoding of printed text. Streams without one, such as a test's, are skipped."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def undecodable(conf: Path, error: UnicodeDecodeError) -> str:
    """The message for a file of `conf` that Hydra could not decode; Hydra's error does not name the file."""
    for path in sorted(conf.rglob("*.yaml")):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError as own:
            return f"{path} is not UTF-8 (byte {own.start}: {own.object[own.start]:#04x}); save it as UTF-8"
    return f"a configuration file is not UTF-8 ({error}); save it as UTF-8"
