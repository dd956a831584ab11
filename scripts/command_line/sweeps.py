"""Sweeps on the command line of commands that read records: the same choices as for the run, combined into tables.

`method=none,tomesd`, `method.ratio=0.25,0.5` and `prompts.seed=0,1,2` are rows of one table. Options that change the
protocol, such as `sampler.steps=20,50`, make a separate table for each value.
"""

import fnmatch
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from scripts.command_line.choices import choices
from scripts.command_line.entry import CONF, given_arguments, say, work_on_each
from scripts.command_line.nearest import nearest_to

MULTIRUN = ("--multirun", "-m")
SEED = "prompts.seed"


@dataclass(frozen=True)
class Part:
    """The part of a sweep with one protocol.

    arguments: one choice for every key, for Hydra to compose. jobs: the same with the sweeps over rows, as in the run.
    folder: a unique subfolder of results, empty if there is only one part. methods: named on the command line, as
    written there; empty if the experiment decides.
    """

    arguments: tuple[str, ...]
    jobs: tuple[str, ...]
    folder: str = ""
    methods: tuple[str, ...] = ()


Work = Callable[[DictConfig, dict[str, str], Part], int | None]


def work_on_sweep(work: Work, config: str = "config", *, one_method: bool = False) -> int:
    """Call `work` once for each part of the command line's sweep; returns the highest exit status.

    one_method: for commands that use one method; of a sweep over methods the configuration's own is used.
    """
    statuses, asked = [], parts(sys.argv[1:], one_method=one_method)
    known = choices(CONF, "method")
    unknown = [name for name in asked[0].methods if name not in known]
    if len(asked[0].methods) > 1 and unknown:  # Hydra composes only the first one
        say(f"error: unknown method {unknown[0]!r}{nearest_to(unknown[0], known)}")
        return 1
    for part in asked:
        with given_arguments(part.arguments):
            statuses.append(work_on_each(lambda composed, choices, part=part: work(composed, choices, part), config))
    return max(statuses)


def parts(arguments: Sequence[str], *, one_method: bool = False) -> list[Part]:
    """The parts of a sweep. `arguments` are unchanged if Hydra cannot parse them; Hydra then reports the error."""
    given = [argument for argument in arguments if argument not in MULTIRUN]
    try:
        overrides = [None if word.startswith("-") else OverridesParser.create().parse_override(word) for word in given]
    except HydraException:
        return [Part(tuple(given), tuple(given))]
    found = [_values(override) for override in overrides]
    protocols = [
        [f"{_key(override)}={value}" for value in values]
        for override, values in zip(overrides, found, strict=True)
        if len(values) > 1 and not _is_of_rows(override)
    ]
    methods = next((tuple(v) for o, v in zip(overrides, found, strict=True) if o and _key(o) == "method"), ())
    dropped = ("method",) if one_method else ()
    return [_part(given, overrides, found, choice, methods, dropped) for choice in itertools.product(*protocols)]


def _part(
    given: Sequence[str],
    overrides: Sequence[Override | None],
    found: Sequence[Sequence[str]],
    choice: Sequence[str],
    methods: tuple[str, ...],
    dropped: tuple[str, ...],
) -> Part:
    chosen = {word.partition("=")[0]: word for word in choice}
    arguments, jobs = [], []
    for word, override, values in zip(given, overrides, found, strict=True):
        key = "" if override is None else _key(override)
        if key in chosen:
            arguments.append(chosen[key])
            jobs.append(chosen[key])
            continue
        jobs.append(word if len(values) < 2 else f"{key}={','.join(values)}")
        if len(values) < 2:
            arguments.append(word)
        elif key not in dropped and not key.startswith("method."):  # options of rows do not apply to all of them
            arguments.append(f"{key}={values[0]}")
        if key == SEED and len(values) > 1 and not any(word.startswith("seeds=") for word in given):
            arguments.append(f"seeds=[{','.join(values)}]")
    folder = "_".join(_name(word) for word in choice)
    return Part(tuple(arguments), tuple(jobs), folder, methods)


def _is_of_rows(override: Override) -> bool:
    """Whether records that differ only in this override are rows of one table."""
    key = _key(override)
    return key in ("method", "backend", SEED, "seeds") or key.startswith(("method.", "backend."))


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _values(override: Override | None) -> list[str]:
    """Each choice of a sweep as written, or the one of a plain override; empty for a flag or a deletion."""
    if override is None or override.is_delete():
        return []
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    swept = override.value()
    if isinstance(swept, Glob):
        names = choices(CONF, _key(override))
        included = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in swept.include)]
        return [name for name in included if not any(fnmatch.fnmatch(name, pattern) for pattern in swept.exclude)]
    return list(override.sweep_string_iterator())


def _name(word: str) -> str:
    """A choice as part of a folder's name, such as steps-20 for sampler.steps=20."""
    key, _, value = word.partition("=")
    return re.sub(r"[^\w.-]+", "-", f"{key.rpartition('.')[2]}-{value}").strip("-.")
