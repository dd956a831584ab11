"""A sweep on a real Slurm of one node: disturbed in every way a cluster has, it ends as one that nothing disturbed."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import scripts.run
import scripts.tables
from tests.scripts.jobs.one_node_slurm import ask, one_node, processes_of, until, why_not

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not())]

ROOT = Path(__file__).parents[3]
METHODS = ("none", "tomesd", "retom")
SWEEP = (
    "experiment=smoke",
    f"method={','.join(METHODS)}",
    "model=tiny_random",
    "sampler.steps=24",  # so that 16 images take seconds
    "sampler.batch_size=1",
    "prompts.classes=8",
    "prompts.images_per_class=2",
    "reference.per_class=2",
    "bootstrap.replicates=20",
    "timing=off",
)
IMAGES = 16
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_s=0.5", "hydra.launcher.patience_s=4")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[dict[str, str]]:
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def in_process(monkeypatch):
    """A function that runs an entry point in this process, which has imported everything; its exit status."""

    def call(module, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
        GlobalHydra.instance().clear()
        try:
            return module.main()
        finally:
            GlobalHydra.instance().clear()

    return call


@contextlib.contextmanager
def submit(cluster: dict[str, str], results: Path, *more: str) -> Iterator[subprocess.Popen]:
    """The command as a user gives it, until it ends by itself (or the test fails)."""
    command = [sys.executable, "-m", "scripts.run", "--multirun", *SWEEP, *SLURM, f"results={results}", *more]
    environment = {**cluster, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def submitted(process: subprocess.Popen, jobs: int) -> tuple[str, str]:
    """Wait until the command says what it submitted: the ids of the array and of the job that closes it."""
    said = ""
    for line in process.stderr:
        said += line
        if found := re.match(rf"submitted {jobs} jobs to Slurm as (\d+) and (\d+);", line):
            return found.group(1), found.group(2)
    pytest.fail(f"nothing was submitted: {said}")


def images(results: Path, method: str) -> dict[str, bytes]:
    found = sorted((results / "runs" / "smoke").glob(f"{method}-*/images/*.png"))
    return {path.name: path.read_bytes() for path in found}


def state(cluster: dict[str, str], job: str) -> str:
    lines = ask(cluster, "squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
    return dict(line.split() for line in lines).get(job, "")


def generating(results: Path, method: str) -> None:
    """Wait until a run is in the middle of its images."""
    until(lambda: images(results, method), 240, f"{method} generates")


def disturb(cluster: dict[str, str], results: Path, array: str) -> None:
    """The first job is requeued, the second killed with -9, the third cancelled: each amid its images."""
    generating(results, "none")
    subprocess.run(["scontrol", "requeue", f"{array}_0"], env=cluster, check=True)
    generating(results, "tomesd")  # may run at the same time, so it is killed before anything is waited for
    for process in processes_of(cluster, f"{array}_1"):
        subprocess.run(["kill", "-9", str(process)], check=True)
    until(lambda: state(cluster, f"{array}_0") == "PENDING", 60, "the requeued job waits for its second turn")
    assert 0 < len(images(results, "none")) < IMAGES
    generating(results, "retom")
    subprocess.run(["scancel", f"{array}_2"], env=cluster, check=True)
    until(lambda: state(cluster, f"{array}_2") == "CANCELLED", 60, "the cancelled job is gone")
    assert all(0 < len(images(results, method)) < IMAGES for method in ("tomesd", "retom"))


def tables_of(results: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((results / "smoke").glob("*.csv"))}


def test_a_disturbed_sweep_resumed_is_the_undisturbed_one(cluster, in_process, tmp_path: Path) -> None:
    results, undisturbed = tmp_path / "slurm", tmp_path / "undisturbed"
    with submit(cluster, results) as first:
        array, closing = submitted(first, jobs=4)
        disturb(cluster, results, array)
        output = first.stderr.read()
    assert first.returncode == 1, output
    assert f"Slurm job {array}_1 ended without a result (FAILED)" in output
    assert f"Slurm job {array}_2 ended without a result (CANCELLED)" in output
    assert f"Slurm job {closing} " not in output
    assert re.search(r"^done +smoke/none-", output, re.M), output
    for method in ("tomesd", "retom"):
        gap = rf"^failed +smoke/{method}-.* cannot be closed, \d+ of its 16 images are missing"
        assert re.search(gap, output, re.M), output
    assert len(images(results, "none")) == IMAGES

    with submit(cluster, results) as second:
        output = second.stderr.read()
    assert second.returncode == 0, output
    assert re.search(r"^already finished +smoke/none-", output, re.M), output
    assert len(re.findall(r"^done +smoke/(?:tomesd|retom)-", output, re.M)) == 2, output

    assert in_process(scripts.run, "--multirun", *SWEEP, f"results={undisturbed}") == 0
    for method in METHODS:
        assert images(results, method) == images(undisturbed, method)
    for place in (results, undisturbed):
        in_process(scripts.tables, *SWEEP[:1], *SWEEP[2:], f"results={place}")
    assert tables_of(results) == tables_of(undisturbed)
    assert "table1.csv" in tables_of(results)


def test_shards_of_a_run_at_its_time_limit_go_on_and_are_closed(cluster, tmp_path: Path) -> None:
    """A shard that gets the signal of its time limit is queued again and goes on."""
    options = ("method=retom", "hydra.launcher.shards=2")
    with submit(cluster, tmp_path, *options) as process:
        array, _ = submitted(process, jobs=3)
        generating(tmp_path, "retom")
        subprocess.run(["scancel", "--signal=USR2", f"{array}_0"], env=cluster, check=True)
        output = process.stderr.read()
    log = (tmp_path / "runs" / ".slurm" / f"{array}_0" / f"{array}_0_0_log.err").read_text()
    assert "Caught signal SIGUSR2" in log, log
    assert process.returncode == 0, f"{output}\n{log}"
    assert re.search(r"^done +smoke/retom-", output, re.M), output
    assert len(images(tmp_path, "retom")) == IMAGES
