"""One prompt on the command line: quoting for Hydra, and checks of prompt and seed."""

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence

from scripts.command_line.entry import given_arguments

PROMPT = "prompt="


def as_hydra_reads_it(flags: Mapping[str, str] | None = None) -> contextlib.AbstractContextManager[None]:
    """The command line as rewritten by `translated`, for a `with` block."""
    return given_arguments(translated(sys.argv[1:], flags or {}))


def translated(arguments: Sequence[str], flags: Mapping[str, str]) -> list[str]:
    """Arguments with `prompt=` quoted (a comma would be a sweep) and `flags` replaced by their overrides.

    flags: {"--ui": "ui=true"}. A prompt that begins and ends with the same quotation mark is unchanged.
    """
    return [flags.get(argument, _quoted(argument)) for argument in arguments]


def _quoted(argument: str) -> str:
    text = argument.removeprefix(PROMPT)
    if text == argument or not text or (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        return argument
    # Hydra's rule: backslashes are doubled before a quotation mark only.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return PROMPT + "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def check_prompt(prompt: object) -> str:
    """The prompt. ValueError if it is not a string."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"prompt must be a text, got {prompt!r}")
    return prompt


def check_seed(seed: object, name: str = "seed") -> int:
    """The image's seed. ValueError if it is not a valid seed of torch's CPU generator."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be an integer in [0, {2**32 - 1}], got {seed!r}")
    return seed
