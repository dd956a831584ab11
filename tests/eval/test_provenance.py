import json
import subprocess
from pathlib import Path

import pytest
import torch

from eval import provenance


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_collect_is_plain_data(tmp_path: Path) -> None:
    found = provenance.collect(root=tmp_path, dtype=torch.float16, run={"scheduler": "pndm"})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["device"] == {"type": "cpu", "dtype": "float16", "gpu": None}
    assert found["packages"]["torch"]["version"] == torch.__version__.split("+")[0]
    assert found["cpu"]["cores"] >= 1
    assert found["cpu"]["ram_bytes"] > 2**28
    assert found["date"].endswith("+00:00")
    assert found["run"] == {"scheduler": "pndm"}


def test_git_state_follows_the_checkout(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path)["sha"] is None
    git(tmp_path, "init", "-q")
    assert "rev-parse failed" in provenance.git_state(tmp_path)["reason"]
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "First")
    sha = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.git_state(tmp_path) == {"sha": sha, "dirty": False, "reason": None}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table1.csv").write_text("")
    assert provenance.git_state(tmp_path)["dirty"] is False
    (tmp_path / "method.py").write_text("")
    assert provenance.git_state(tmp_path)["dirty"] is True


def test_a_folder_inside_a_foreign_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "site-packages").mkdir()
    state = provenance.git_state(tmp_path / "site-packages")
    assert state == {"sha": None, "dirty": None, "reason": "the project's folder is not the top of a git checkout"}


def test_no_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state(tmp_path) == {"sha": None, "dirty": None, "reason": "git is not installed"}


def test_commit_of_a_source_install_comes_from_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "from_source-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: from-source\nVersion: 1.2\n")
    (folder / "direct_url.json").write_text(
        '{"url": "https://git.example/a", "vcs_info": {"vcs": "git", "commit_id": "d00d"}}'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert provenance.package_version("from-source") == {"version": "1.2", "commit": "d00d"}
    assert provenance.package_version("no-such-distribution") is None
