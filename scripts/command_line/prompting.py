"""One prompt from the command line: text that need not be quoted for Hydra, and what a prompt and a seed may be."""

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence

from scripts.command_line.entry import given_arguments

PROMPT = "prompt="


def as_hydra_reads_it(flags: Mapping[str, str] | None = None) -> contextlib.AbstractContextManager[None]:
    """For a `with` block the command line as `translated` writes it."""
    return given_arguments(translated(sys.argv[1:], flags or {}))


def translated(arguments: Sequence[str], flags: Mapping[str, str]) -> list[str]:
    """Arguments in which `prompt=` is quoted, since a comma would be a sweep, and `flags` are their overrides.

    flags: {"--ui": "ui=true"}. A prompt that begins and ends with the same quotation mark is left as it is.
    """
    return [flags.get(argument, _quoted(argument)) for argument in arguments]


def _quoted(argument: str) -> str:
    text = argument.removeprefix(PROMPT)
    if text == argument or not text or (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        return argument
    # Hydra's rule: backslashes count twice before a quotation mark, and once elsewhere.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return PROMPT + "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def check_prompt(prompt: object) -> str:
    """The prompt; ValueError where it is no text."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"prompt must be a text, got {prompt!r}")
    return prompt


def check_seed(seed: object, name: str = "seed") -> int:
    """The image's seed; ValueError where it is no seed of torch's CPU generator."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be an integer in [0, {2**32 - 1}], got {seed!r}")
    return seed
