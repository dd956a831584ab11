"""Selects the records that match the choices on the command line, and reports what differs if none does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records import run_id
from eval.records.canonical import canonical_json, flat_options, pixel_options

# The keys by which the command line selects records of one folder; remaining mixtures are refused later.
CHOSEN_BY = ("model", "sampler", "prompts")
SHOWN, LONGEST = 5, 60  # keys named in a message, and characters of a value
_ABSENT = object()


def fitting(records: Sequence[dict], config: Mapping[str, Any]) -> list[dict]:
    """The records of the composed model, sampler and prompts; all of them if `select` chooses instead.

    With `seeds`, prompts of any seed match.
    RunError: there is none, which would replace an existing table by an empty one. It names what differs.
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
    """The error for a folder without records."""
    return RunError(
        f"there is no record in {_folder(config)}; run the rows first: python -m scripts.run --multirun with the "
        "same choices (and method=none first, if the table compares with it)"
    )


def _none_of_these(records: Sequence[dict], wanted: Mapping[str, Any], several: bool, where: Path) -> str:
    """What differs in the record that differs in the fewest keys."""
    asked = flat_options(wanted)
    differing = [(_differences(flat_options(_choice(record["config"], several)), asked), record) for record in records]
    keys, nearest = min(differing, key=lambda pair: (len(pair[0]), run_id(pair[1])))
    there = flat_options(_choice(nearest["config"], several))
    words = [f"{key} ({_word(there, key)} there, {_word(asked, key)} here)" for key in keys[:SHOWN]]
    more = f" and {len(keys) - SHOWN} more keys" if len(keys) > SHOWN else ""
    return (
        f"none of the {len(records)} records in {where} matches these choices; the nearest, {run_id(nearest)}, has "
        f"another {', '.join(words)}{more}; repeat the choices of the run, or set select={{model:NAME}}"
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
