"""Every check of a submission, in the order in which a fault is named: the first one ends the list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import RunError
from eval.records import run_id
from eval.records.canonical import canonical_json, digest
from eval.records.gates import FAILED, check_gates
from eval.submissions.consistency import check_differences, check_images, check_protocol
from eval.submissions.environment import environment, slug
from eval.submissions.layout import RECORDS, Submission, folders, name_of, read_submission
from eval.submissions.protocols import Published, published_for
from eval.submissions.source import OWN, can_be_found, hash_at_commit
from eval.submissions.speed import check_not_faster_than_free, check_seconds

TARGETS = {"none": "baselines.none.Unmerged", "oracle": "baselines.oracle.Oracle"}
Known = Callable[[str], bool | None]


@dataclass(frozen=True)
class Rules:
    """What submissions are held against.

    references: reference runs of baselines, as `eval.records.gates.read_references`. has_commit: whether the
    repository at `root` has a commit; None where it cannot tell.
    """

    published: Sequence[Published]
    references: Sequence[Mapping]
    root: Path
    has_commit: Known


@dataclass(frozen=True)
class Accepted:
    """A submission that holds, the protocol it is of, and what could not be checked here."""

    submission: Submission
    protocol: Published
    unchecked: tuple[str, ...] = ()


def check_submission(folder: Path, root: Path, rules: Rules) -> Accepted:
    """RunError with the first fault. `root`: the folder of all submissions."""
    if len(folder.relative_to(root).parts) != 3:
        raise RunError("a submission's place is submissions/<method>/<environment>/<run>/; move it there")
    submission = read_submission(folder)
    records = [getattr(submission, name) for name in RECORDS]
    _check_status(records)
    protocol = published_for(submission.record, rules.published)
    items = check_protocol(submission.record)
    _check_baselines(submission)
    _check_place(submission)
    check_images(submission, items)
    unchecked = [*_check_source(submission, rules), *_unfixed(protocol)]
    check_differences(submission.record, submission.none)
    _check_gates(records, rules.references)
    for record in records:
        check_seconds(record, protocol.timed_images)
    check_not_faster_than_free(*records)
    return Accepted(submission, protocol, tuple(unchecked))


def duplicate_of(accepted: Accepted, others: Sequence[Accepted]) -> Accepted | None:
    """One of `others` that is the same run: the same record, whatever name it is under, or the same row again."""
    own = accepted.submission
    for other in others:
        there = other.submission
        same_row = (run_id(own.record), environment(own.record)) == (run_id(there.record), environment(there.record))
        same_party = own.method["submitted_by"] == there.method["submitted_by"]
        if _measured(own.record) == _measured(there.record) or (same_row and same_party):
            return other
    return None


def run_name(record: Mapping, submitted_by: str | None = None) -> str:
    """The folder of a run; with `submitted_by`, that of a second party's run of the same row and environment."""
    name = f"{record['method']}-{record['pixel_hash']}"
    return name if submitted_by is None else f"{name}-by-{slug(submitted_by)}"


def _measured(record: Mapping) -> str:
    """What no second run repeats: its raw seconds."""
    return digest(canonical_json([batch["seconds"] for batch in record["timing"]["batches"]]))


def _check_status(records: Sequence[Mapping]) -> None:
    for name, record in zip(RECORDS, records, strict=True):
        if record["status"] != "ok":
            raise RunError(f"{name}.json is of a run that is {record['status']}; submit finished runs with status ok")


def _check_baselines(submission: Submission) -> None:
    for name, target in TARGETS.items():
        record = getattr(submission, name)
        if (record["method"], record["config"]["method"].get("_target_")) != (name, target):
            raise RunError(f"{name}.json is of method {record['method']}; pack the finished run of method={name}")
        if record["protocol_hash"] != submission.record["protocol_hash"]:
            raise RunError(
                f"{name}.json is of another protocol or device than record.json ({record['protocol_hash']}, not "
                f"{submission.record['protocol_hash']}); run method={name} on the same machine with the same choices"
            )
        if environment(record) != environment(submission.record):
            raise RunError(
                f"{name}.json is of the environment {environment(record)}, not {environment(submission.record)}; run "
                f"method={name} in the same environment"
            )


def _check_place(submission: Submission) -> None:
    record, (method, where, run) = submission.record, submission.folder.parts[-3:]
    if method != record["method"]:
        raise RunError(f"the folder is named {method} and the record is of method {record['method']}; rename it")
    if where != environment(record):
        raise RunError(f"the folder names the environment {where}, the record {environment(record)}; rename it")
    names = (run_name(record), run_name(record, submission.method["submitted_by"]))
    if run not in names:
        raise RunError(f"the folder is named {run} and the record is of run {names[0]}; rename it")


def _check_gates(records: Sequence[Mapping], references: Sequence[Mapping]) -> None:
    distinct = {canonical_json(dict(record)): record for record in records}
    for gate in check_gates(list(distinct.values()), references):
        if gate.status == FAILED:
            raise RunError(f"gate {gate.name} failed: {gate.details}; run these rows again")


def _check_source(submission: Submission, rules: Rules) -> list[str]:
    """What could not be checked. RunError: the method is not the record's, or its source not that of its commit."""
    record, method, source = submission.record, submission.method, submission.method["source"]
    target, git = record["config"]["method"].get("_target_"), record["provenance"]["git"]
    if method["target"] != target or source["package"] != str(target).partition(".")[0]:
        raise RunError(f"method.json is of {method['target']} and the record of {target}; pack the run again")
    if not can_be_found(source):
        raise RunError("method.json does not say where the method's source is; pack again with url=ADDRESS")
    if source["package"] not in OWN:
        return []
    if git.get("dirty") is not False:
        return ["the method's source: the run was made with uncommitted changes"]
    known = rules.has_commit(str(git["sha"]))
    if known is None:
        return [f"the method's source: whether the repository has commit {str(git['sha'])[:12]}"]
    if not known:
        raise RunError(f"the run was made from commit {git['sha']}, which this repository lacks; run it from another")
    if source["sha256"] != hash_at_commit(rules.root, git["sha"], source["package"]):
        raise RunError(
            f"method.json has another source hash than {source['package']}/ at commit {git['sha'][:12]}; pack again"
        )
    return []


def _unfixed(protocol: Published) -> list[str]:
    return [f"protocol {protocol.name} has not fixed {', '.join(protocol.open)} yet"] if protocol.open else []


def faults(root: Path, rules: Rules, marked: Sequence[Path] = ()) -> tuple[list[Accepted], list[str]]:
    """The submissions below `root` that hold, and one line for each that does not; `marked` ones are left out."""
    accepted: list[Accepted] = []
    found = []
    for folder in (one for one in folders(root) if one not in marked):
        try:
            new = check_submission(folder, root, rules)
            twin = duplicate_of(new, accepted)
            if twin is not None:
                raise RunError(f"it is the run of {twin.submission.name} again; remove one of the two")
            accepted.append(new)
        except RunError as error:
            found.append(f"{name_of(folder)}: {error}")
    return accepted, found
