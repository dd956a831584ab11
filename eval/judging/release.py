"""Where every committed CSV comes from: `results/PROVENANCE.json`, made by one call and checked without a GPU.

An entry has the file's hash, its columns, the command, the commits and machines behind it, the hashes of the files
next to it, and the records (run id, hash, protocol) its rows name. A file edited by hand no longer has its hash.
"""

import csv
import fnmatch
import hashlib
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from eval.atomic import write_json
from eval.errors import RunError

NAME = "PROVENANCE.json"
TIMINGS = ("bench_", "speed_", "gpu_")  # the files whose rows are in the JSON of the same name
STATUSES = {"ok", "invalid", "failed", "missing", "unfinished"}
_ENTRY = ("sha256", "columns", "rows", "command", "commits", "machines", "dates", "beside", "records")


def describe(path: Path, command: str, results: Path) -> dict:
    """The entry of a CSV in `results`, from the JSON of the same name or from the records its rows name.

    RunError: the file has neither, a record is missing, or it does not agree with that JSON.
    """
    header, rows = read_csv(path)
    beside = [other for other in (path.with_suffix(".json"), path.with_suffix(".md")) if other.is_file()]
    records = [_record(results, name) for name in run_ids(header, rows)]
    origins = [origin for _, origin in records]
    sidecar = json.loads(beside[0].read_text(encoding="utf-8")) if beside and beside[0].suffix == ".json" else {}
    if isinstance(sidecar, dict) and "provenance" in sidecar:
        origins.append(sidecar["provenance"])
    if not origins:
        raise RunError(f"{path} names no run and has no JSON of the same name with its provenance; it cannot be traced")
    disagreement = disagrees(path)
    if disagreement:
        raise RunError(f"{path} {disagreement}; write it again first")
    return {
        "sha256": sha256(path),
        "columns": header,
        "rows": len(rows),
        "command": command,
        "commits": sorted({_commit(origin) for origin in origins}),
        "machines": sorted({_machine(origin) for origin in origins}),
        "dates": sorted({origin["date"][:10] for origin in origins}),
        "beside": {other.name: sha256(other) for other in beside},
        "records": [entry for entry, _ in records],
    }


def add(path: Path, command: str, results: Path) -> dict:
    """Describe a CSV and save the entry in `results`/PROVENANCE.json. RunError as `describe`, or it is elsewhere."""
    path, results = Path(path), Path(results)
    if path.resolve().parent != results.resolve() or path.suffix != ".csv" or not path.is_file():
        raise RunError(f"{path} is not a CSV file in {results}; name one, such as {results / 'table1.csv'}")
    kept = read_provenance(results)
    entry = describe(path, command, results)
    write_json(results / NAME, {"files": dict(sorted({**kept, path.name: entry}.items()))})
    return entry


def read_provenance(results: Path) -> dict[str, dict]:
    """The entries by file name; none where there is no such file. RunError: it is damaged."""
    path = Path(results) / NAME
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        absent = [f"{name}.{key}" for name, entry in files.items() for key in _ENTRY if key not in entry]
        if absent:
            raise ValueError(f"{absent[0]} is absent")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be used ({error}); restore it from the repository") from error
    return files


def check(results: Path, names: Iterable[str], has_commit: Callable[[str], bool | None]) -> tuple[list[str], list[str]]:
    """Problems, and what could not be checked here, one line each.

    names: the CSV files that a release holds. has_commit: whether the repository has a commit; None if it cannot tell.
    """
    results = Path(results)
    kept, problems, unchecked = read_provenance(results), [], []
    names = sorted(names)
    problems += [f"{name} has no entry in {NAME}: python -m scripts.check_results add={results / name}"
                 for name in names if name not in kept]  # fmt: skip
    problems += [f"{NAME} describes {name}, which does not exist" for name in kept if name not in names]
    documented = _documented(results / "README.md")
    for name in (name for name in names if name in kept):
        problems += [f"{name} {problem}" for problem in _wrong(results / name, kept[name], documented)]
        for commit in kept[name]["commits"]:
            known = has_commit(commit.split()[0])
            if known is None:
                unchecked.append(f"{name}: whether the repository has commit {commit[:12]}")
            elif not known:
                problems.append(f"{name} was made from commit {commit[:12]}, which is not in this repository")
        records = kept[name]["records"]
        other = [record for record in records if _here(results, record["run_id"]) != record["sha256"]]
        if other:
            unchecked.append(
                f"{name}: {len(other)} of {len(records)} records, which are not here or have changed since"
            )
    return problems, unchecked


def repository_has(root: Path) -> Callable[[str], bool | None]:
    """A function that returns whether the checkout at `root` has a commit; None if it is shallow or no checkout."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)

    def has(commit: str) -> bool | None:
        if not re.fullmatch("[0-9a-f]{40}", commit):
            return False
        shallow = git("rev-parse", "--is-shallow-repository").stdout.strip()
        if git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0:
            return True
        return False if shallow == "false" else None

    return has


def committed(results: Path) -> list[str]:
    """Names of the committed CSV files in `results`; all of them outside a checkout."""
    command = ["git", "-C", str(results), "ls-files", "--", "*.csv"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    there = [path.name for path in sorted(Path(results).glob("*.csv"))]
    if done is None or done.returncode != 0:
        return there
    return [name for name in done.stdout.splitlines() if "/" not in name]


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows. RunError: there is no header, or a row has more or fewer fields."""
    header, *rows = [*csv.reader(io.StringIO(path.read_text(encoding="utf-8")))] or [[]]
    uneven = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if not header or uneven:
        raise RunError(f"{path} {f'has {len(rows)} rows, of which {uneven[0]} is uneven' if header else 'is empty'}")
    return header, rows


def run_ids(header: list[str], rows: list[list[str]]) -> list[str]:
    """The run ids of every column of run ids, each once, sorted."""
    places = [index for index, name in enumerate(header) if name == "run_id" or name.endswith("_run_id")]
    return sorted({row[place] for row in rows for place in places if row[place]})


def disagrees(path: Path) -> str | None:
    """How a timing's CSV differs from the JSON that it was written from; None where it agrees."""
    sidecar = path.with_suffix(".json")
    if not path.name.startswith(TIMINGS) or not sidecar.is_file():
        return None
    kept = json.loads(sidecar.read_text(encoding="utf-8"))["rows"]
    header, rows = read_csv(path)
    wanted = [["" if row.get(name) is None else str(row[name]) for name in header] for row in kept]
    return None if rows == wanted else f"does not agree with {sidecar.name}"


def sha256(path: Path) -> str:
    """Of the file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _wrong(path: Path, entry: Mapping, documented: list[str]) -> list[str]:
    if not path.is_file():
        return ["does not exist"]
    found = []
    if sha256(path) != entry["sha256"]:
        found.append(f"is not the file that {NAME} describes: it was edited, or written again without an entry")
    try:
        header, rows = read_csv(path)
    except RunError as error:
        return [*found, f"cannot be read: {error}"]
    if header != entry["columns"] or len(rows) != entry["rows"]:
        found.append(f"has different columns or rows than {NAME} lists")
    plain = {name: name.replace("_smoke", "") for name in header}
    strange = [name for name in header if not any(fnmatch.fnmatchcase(plain[name], word) for word in documented)]
    if strange:
        found.append(f"has columns that README.md does not explain: {', '.join(strange)}")
    place = header.index("status") if "status" in header else None
    odd = set() if place is None else {row[place] for row in rows} - STATUSES
    if odd:
        found.append(f"has the status {sorted(odd)[0]!r}, allowed are {', '.join(sorted(STATUSES))}")
    for name, digest in entry["beside"].items():
        other = path.with_name(name)
        if not other.is_file() or sha256(other) != digest:
            found.append(f"comes with {name}, which is not the file that {NAME} describes")
    names = [record["run_id"] for record in entry["records"]]
    if run_ids(header, rows) != names:
        found.append(f"names different runs than {NAME}")
    disagreement = disagrees(path)
    return [*found, disagreement] if disagreement else found


def _documented(readme: Path) -> list[str]:
    """Every word in backticks of results/README.md; `*` in it matches anything."""
    return re.findall(r"`([^`\s]+)`", readme.read_text(encoding="utf-8")) if readme.is_file() else []


def _record_path(results: Path, name: str) -> Path:
    return Path(results) / "runs" / name / "record.json"


def _here(results: Path, name: str) -> str | None:
    path = _record_path(results, name)
    return sha256(path) if path.is_file() else None


def _record(results: Path, name: str) -> tuple[dict, dict]:
    path = _record_path(results, name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not path.is_file():
        raise RunError(f"{path} does not exist; describe a CSV while its runs are available")
    record = json.loads(path.read_text(encoding="utf-8"))
    entry = {"run_id": name, "sha256": sha256(path), "protocol_hash": record["protocol_hash"]}
    return entry, record["provenance"]


def _commit(origin: Mapping) -> str:
    sha = origin["git"]["sha"] or "unknown"
    return f"{sha} with changes" if origin["git"].get("dirty") else sha


def _machine(origin: Mapping[str, Any]) -> str:
    gpu = (origin.get("device") or {}).get("gpu")
    model = (origin.get("cpu") or {}).get("model") or "unknown CPU"
    return f"{gpu['name']} on {model}" if gpu else model
