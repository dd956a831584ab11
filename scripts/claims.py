"""Check the paper's claims against the records: those of conf/claims.yaml, and those that an experiment adds.

Examples:
    python -m scripts.claims "experiment=[table1,table2]"
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from eval.atomic import write_json, write_text
from eval.errors import RunError
from eval.judging.claim import Claim
from eval.judging.terminal import print_claims
from eval.judging.verdicts import Compare, judge, page
from eval.records import BASELINE, load_records, run_id
from eval.records.canonical import canonical_json
from eval.records.gates import FAILED, check_gates, verdict
from eval.tables.selection import assign, choose, refuse_mixed
from eval.tables.spec import TableSpec
from eval.tables.terminal import terminal
from scripts.command_line.entry import say
from scripts.command_line.sweeps import Part, work_on_sweep
from scripts.finished.claimed import CONFIG, claims_of
from scripts.finished.fitting import fitting
from scripts.jobs.row import resolve
from scripts.tables import table_folder, table_options, table_specs

TITLE = "The paper's claims, checked against these runs"


def main() -> int:
    """Write claims.json and claims.md next to the tables. Returns 1 where a gate failed.

    A claim whose rows are missing is undecided; `scripts.tables` returns 1 for missing rows.
    """
    return work_on_sweep(_judge_all, CONFIG)


def _judge_all(composed: DictConfig, choices: dict[str, str], part: Part) -> int:
    config = {**resolve(composed), "seeds": []}  # a claim is about one seed of the prompts, the composed one
    claims, options, specs = claims_of(config), table_options(config), table_specs(config)
    loaded = load_records(Path(config["results"]) / "runs", config["runs"], warn=say)
    records = choose(fitting(loaded, config), options["select"])
    refuse_mixed(records, "claims")
    rows = _rows(specs, records)
    profile = records[0]["protocol"]["metrics"]["profile"]
    gates = check_gates(list(rows.values()), options["references"])
    found = judge(claims, specs, rows, gates, profile, _comparing(claims, rows, config))
    folder = table_folder(config, profile) / part.folder
    facts = [
        f"Protocol {records[0]['protocol_hash']}: {records[0]['protocol']['n']} images, "
        f"{records[0]['protocol']['device_name']}; gates: {verdict(gates)}.",
        "Times are of two separate runs: they are not paired, and their interval does not cover the variation between "
        "processes. Every other difference is paired by image.",
    ]
    if profile == "smoke":
        facts.append("Smoke profile: a small model, and fid_smoke and clip_smoke are not FID and not CLIP score.")
    runs = {method: run_id(record) for method, record in sorted(rows.items())}
    write_json(folder / "claims.json", {"claims": found, "runs": runs, "gates": verdict(gates), "profile": profile})
    write_text(folder / "claims.md", page(found, TITLE, facts))
    print_claims(found, terminal())
    say(f"written: {folder / 'claims.json'}, {folder / 'claims.md'}")
    return int(verdict(gates).startswith(FAILED))


def _rows(specs: list[TableSpec], records: list[dict]) -> dict[str, dict]:
    """The finished record of each method as shipped; also where no table has a row of it."""
    rows: dict[str, dict] = {}
    for spec in specs:
        for method, record in assign(spec, records)[0].items():
            if record["status"] != "failed":
                rows.setdefault(method, record)
    for record in records:
        shipped = canonical_json(record["config"]["method"]) == canonical_json(specs[0].methods.get(record["method"]))
        if record["status"] != "failed" and shipped:
            rows.setdefault(record["method"], record)
    return rows


def _comparing(claims: Sequence[Claim], rows: Mapping[str, dict], config: dict) -> Compare:
    """A function from two methods to the paired differences of their images; each method is scored once."""
    results, trusted = Path(config["results"]), config["trusted"]

    @functools.cache
    def scored(method: str) -> dict[str, dict]:
        from eval.metrics.profiles import score
        from scripts.finished.recorded import recorded

        run = recorded(rows[method], results, trusted)
        wanted = {BASELINE, *(claim.against for claim in claims if claim.method == method)} - {method}
        others = {name: recorded(rows[name], results, trusted) for name in sorted(wanted & set(rows))}
        reference = run.reference()
        if reference is None:
            raise RunError(f"{run_id(rows[method])} was run without metrics")
        return score(
            run.images,
            reference,
            run.row.metrics,
            cache=run.row.cache,
            device=run.row.sampler.device,
            bootstrap=run.row.bootstrap,
            against={name: other.images for name, other in others.items()},
        )

    def compare(method: str, other: str) -> dict[str, dict]:
        differences = {name: entry["differences"] for name, entry in scored(method).items()}
        return {name: found[other] for name, found in differences.items() if other in found}

    return compare


if __name__ == "__main__":
    sys.exit(main())
