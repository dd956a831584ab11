"""Fill the tables of README.md from results/; with image=true also generate its image.

Every number of README.md stands between two markers and comes from a committed CSV file. The share of tokens that a
method removes comes from one generation with the tiny model.

Examples:
    python -m scripts.readme
    python -m scripts.readme image=true
"""

import csv
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from eval import atomic
from eval.errors import RunError
from scripts.command_line.entry import say, work_on_each
from scripts.jobs.row import device_of
from scripts.jobs.session import Session
from scripts.show import rows
from scripts.tables import method_labels

RATIO = 0.5
# The cells of the bench: one self-attention by its tokens, then the whole denoiser; ReToM plans at every call.
PLACES = {
    "1024": ("one self-attention, 32 x 32 tokens", "retom_w2_p1"),
    "4096": ("one self-attention, 64 x 64 tokens", "retom_w2_p1"),
    "16384": ("one self-attention, 128 x 128 tokens", "retom_w2_p1"),
    "": ("SD 1.5 denoiser, 512 px", "retom_p1"),
}


def main() -> int:
    """Write the page. Returns the exit status."""
    return work_on_each(_work, "readme")


def _work(composed: DictConfig, choices: dict[str, str]) -> None:
    config = OmegaConf.to_container(composed)
    session = Session()
    session.join(device_of(composed))
    labels = method_labels()
    page, results = Path(config["page"]), Path(config["results"])
    parts = sections(results, labels, removed_tokens(results, session))
    atomic.write_text(page, filled(page.read_text(encoding="utf-8"), parts))
    say(f"written: {page}")
    if config["image"]:
        from scripts.studies.example import write_example

        say(f"written: {write_example(config['example'], labels, session)}")


def sections(results: Path, labels: Mapping[str, str], removed: Mapping[str, float]) -> dict[str, str]:
    """Marker -> Markdown, from the CSV files of `results`. RunError: one of them is missing."""
    return {
        "leaderboard": leaderboard(studied(results), labels, removed),
        "bench": bench(_lines(results / "bench_cpu.csv")),
        "gpu": gpu(results),
    }


def studied(results: Path) -> dict[str, dict]:
    """Method -> its line of the damage study at the leaderboard's ratio; a row without a ratio has that of its YAML."""
    found: dict[str, dict] = {}
    for line in _lines(results / "damage_tiny.csv"):
        method = line["run_id"].partition("/")[2].rpartition("-")[0]
        named = re.search(r"ratio=([\d.]+)", line["model"])
        if named is None:
            found.setdefault(method, line)
        elif float(named[1]) == RATIO:
            found[method] = line
    return found


def filled(page: str, parts: Mapping[str, str]) -> str:
    """`page` with every part between its markers. ValueError: a pair of markers is not there exactly once."""
    for name, text in parts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        page, count = re.subn(f"{begin}\n.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"the page must have {begin} and {end} once, in this order, got {count}")
    return page


def removed_tokens(results: Path, session: Session) -> dict[str, float]:
    """Method -> share of the tokens of all sites that it removes at the leaderboard's ratio, on the tiny model."""
    from scripts.studies.sheets import generate

    methods = [name for name in studied(results) if name != "none"]
    chosen = rows(methods, [f"method.ratio={RATIO}", "sampler.steps=2"])
    return {row.name: generate(row, session, "a goldfish", [0]).removed for row in chosen}


def leaderboard(found: Mapping[str, dict], labels: Mapping[str, str], removed: Mapping[str, float]) -> str:
    """One row for each method at one ratio, the closest to the baseline's images first."""
    ranked = sorted(found, key=lambda name: -float(found[name]["ssim"]))
    head = "| Method | Tokens removed | SSIM to the baseline ↑ | fid_smoke ↓ | fid_smoke minus baseline |"
    body = [_leader(found[name], name, labels[name], removed.get(name, 0.0)) for name in ranked]
    n, real = found["none"]["n"], found["none"]["n_reference"]
    note = (
        f"Ratio {RATIO:g}; {n} images per method against {real} reference images; brackets are 95% intervals; "
        "\\* marks a difference whose interval excludes 0. Sorted by SSIM."
    )
    return "\n".join([head, "|---|---:|---:|---:|---:|", *body, "", note])


def _leader(line: dict, name: str, label: str, removed: float) -> str:
    if name == "none":
        return f"| {label} `none` | 0% | 1 | {_interval(line, 'fid_smoke')} | |"
    low, high = (float(line[f"fid_smoke_minus_none_{end}"]) for end in ("low", "high"))
    mark = " \\*" if low > 0 or high < 0 else ""
    difference = _interval(line, "fid_smoke_minus_none", "+.2f")
    cells = [f"{removed:.0%}", _interval(line, "ssim", ".3f"), _interval(line, "fid_smoke"), difference + mark]
    shown = f"**{label}**" if name == "retom" else label
    return f"| {shown} `{name}` | {' | '.join(cells)} |"


def _interval(line: dict, key: str, form: str = ".2f") -> str:
    value, low, high = (format(float(line[name]), form) for name in (key, f"{key}_low", f"{key}_high"))
    return f"{value} [{low}, {high}]"


def bench(lines: list[dict]) -> str:
    """Time per call over that without merging, cell by cell, and ReToM over the free merge and over ToMeSD."""
    cells = {key: {line["method"]: line for line in lines if line["tokens"] == key} for key in PLACES}
    head = "| Time per call, no merging = 1 | ReToM | Free merge | ToMeSD | ReToM / free merge | ReToM / ToMeSD |"
    body, spreads = [], []
    for key, (place, retom) in PLACES.items():
        cell = cells[key]
        columns = [(retom, "to_none"), ("oracle", "to_none"), ("tomesd", "to_none")]
        columns += [(retom, "to_oracle"), (retom, "to_tomesd")]
        body.append(f"| {place} | " + " | ".join(f"{float(cell[name][column]):.2f}" for name, column in columns) + " |")
        spreads += [float(cell[name][f"{column}_iqr"]) / float(cell[name][column]) for name, column in columns]
    some = cells[""]["none"]
    note = (
        f"{some['device_name']}, {some['threads']} cores, {some['dtype']}, batch {some['batch']}, ratio "
        f"{float(some['ratio']):g}, a plan at every call; the interquartile range of a ratio is at most "
        f"{max(spreads):.0%} of it."
    )
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *body, "", note])


def gpu(results: Path) -> str:
    """Time per image on every card that `make gpu` measured, or that none was."""
    tables = []
    for path in sorted(results.glob("speed_*.csv")):
        measured = [line for line in _lines(path) if line["status"] == "ok" and line["s_per_im"]]
        if measured:
            body = [f"| {_paper_row(line)} | {float(line['s_per_im']):.2f} | {_speedup(line)} |" for line in measured]
            card = f"{measured[0]['device_name']}, random weights, {measured[0]['dtype']}:"
            tables.append("\n".join([card, "", "| Method | s/image | Speed-up |", "|---|---:|---:|", *body]))
    return "\n\n".join(tables) or "GPU: not measured yet."


def _paper_row(line: dict) -> str:
    words = [line["model"], line["window_size"], line["dest_token"] or line["destination"], f"`{line['method']}`"]
    return ", ".join(word for word in words if word)


def _speedup(line: dict) -> str:
    return _interval(line, "speedup") if line["speedup"] and line["speedup_low"] else line["speedup"]


def _lines(path: Path) -> list[dict]:
    if not path.is_file():
        raise RunError(f"{path} is missing; results/README.md names the command that writes it")
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


if __name__ == "__main__":
    sys.exit(main())
