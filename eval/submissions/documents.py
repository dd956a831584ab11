"""JSON documents that strangers write, held against the published schemas in schema/."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.errors import RunError

SCHEMAS = Path(__file__).parents[2] / "schema"
VERSION = 1
KINDS = ("record", "method", "invalid", "verified")
_LONGEST = 120


def read_document(path: Path, kind: str) -> dict:
    """The document at `path`. RunError: it is absent, no JSON, or not what schema/<kind>-1.json describes."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise RunError(f"{path.name} is missing; pack the run again with python -m scripts.submit") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path.name} is not readable JSON ({error}); pack the run again") from error
    fault = first_fault(document, kind)
    if fault is not None:
        raise RunError(f"{path.name} does not follow schema/{kind}-{VERSION}.json: {fault}; pack the run again")
    return document


def first_fault(document: Any, kind: str) -> str | None:
    """What of `document` departs from the published schema of its kind, in one line; None where nothing does."""
    import jsonschema  # only here: most commands read no stranger's file

    error = jsonschema.exceptions.best_match(_validator(kind).iter_errors(document))
    if error is None:
        return None
    place = error.json_path.removeprefix("$").removeprefix(".") or kind
    message = " ".join(error.message.split())
    return f"{place}: {message if len(message) <= _LONGEST else message[: _LONGEST - 3] + '...'}"


@functools.cache
def _validator(kind: str) -> Any:
    import jsonschema

    schema = json.loads((SCHEMAS / f"{kind}-{VERSION}.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _refuse_constant(name: str) -> Callable[..., Any]:
    raise ValueError(f"it holds {name}, and a number must be finite")
