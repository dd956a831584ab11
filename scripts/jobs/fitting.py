"""Which records of a folder are of the choices on the command line, and what differs where none is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records import run_id
from eval.records.canonical import canonical_json, flat_options, pixel_options

# What the command line chooses among the records of one folder; what is left mixed after that is refused.
CHOSEN_BY = ("model", "sampler", "prompts")
SHOWN, LONGEST = 5, 60  # keys that a message names, and letters of a value
_ABSENT = object()


def fitting(records: Sequence[dict], config: Mapping[str, Any]) -> list[dict]:
    """The records of the composed model, sampler and prompts; all of them where `select` chooses instead.

    With `seeds`, prompts of any seed fit.
    RunError: there is none, which would turn a table that stands into an empty one. It names what differs.
    """
    if not records:
        raise no_record(config)
    if config["select"]:
        return list(records)
    several = bool(config["seeds"])
    wanted = _choice(config, several)
    found = [record for record in records if _choice(record["config"], several) == wanted]
    if not found:
        raise RunError(_none_of_these(records, wanted, several, _folder(config)))
    return found


def no_record(config: Mapping[str, Any]) -> RunError:
    """The error of a folder without records."""
    return RunError(
        f"there is no record in {_folder(config)}; run the rows first, by python -m scripts.run --multirun with the "
        "same choices (its own method=none before, where the table compares with it)"
    )


def _none_of_these(records: Sequence[dict], wanted: Mapping[str, Any], several: bool, where: Path) -> str:
    """What the record that differs in the fewest keys has otherwise."""
    asked = flat_options(wanted)
    differing = [(_differences(flat_options(_choice(record["config"], several)), asked), record) for record in records]
    keys, nearest = min(differing, key=lambda pair: (len(pair[0]), run_id(pair[1])))
    there = flat_options(_choice(nearest["config"], several))
    words = [f"{key} ({_word(there, key)} there, {_word(asked, key)} here)" for key in keys[:SHOWN]]
    more = f" and {len(keys) - SHOWN} more keys" if len(keys) > SHOWN else ""
    return (
        f"none of the {len(records)} records in {where} is of these choices; the nearest, {run_id(nearest)}, has "
        f"another {', '.join(words)}{more}; repeat those of the run, or take select={{model:NAME}}"
    )


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*asked, *there])
    return [key for key in keys if _word(there, key) != _word(asked, key)]


def _word(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key, _ABSENT)
    text = "nothing" if value is _ABSENT else canonical_json(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _folder(config: Mapping[str, Any]) -> Path:
    return Path(config["results"]) / "runs" / config["runs"]


def _choice(config: Mapping[str, Any], several_seeds: bool) -> dict[str, Any]:
    chosen = {key: config[key] for key in CHOSEN_BY}
    if several_seeds:
        chosen["prompts"] = {key: value for key, value in config["prompts"].items() if key != "seed"}
    chosen["sampler"] = pixel_options(config["sampler"])
    return chosen
