"""Files shipped with this package, with one error message for missing or incomplete ones.

They are located relative to this file, independent of the working directory.
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from eval.downloads.digests import file_sha256
from eval.errors import RunError

ASSETS = Path(__file__).parent / "assets"
RESTORE = "check the path; restore a shipped file with git checkout (and git lfs pull if it is stored in LFS)"
_POINTER = b"version https://git-lfs"


def intact_safetensors(path: Path) -> Path:
    """`path` itself. RunError if it is missing, a Git LFS pointer, or not a complete safetensors file."""
    if not path.is_file():
        raise RunError(f"{path} does not exist; {RESTORE}")
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise RunError(f"{path} is a Git LFS pointer, not the file itself; {RESTORE}")
    try:
        with safe_open(path, framework="pt"):
            return path
    except SafetensorError as error:
        raise RunError(f"{path} is damaged ({error}); {RESTORE}") from error


def folder_sha256(folder: Path) -> str:
    """sha256 (hex) over the names and bytes of all files in `folder` and its subfolders, except hidden ones."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    total = hashlib.sha256()
    for name in sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)):
        total.update(f"{name}\0{file_sha256(folder / name)}\n".encode())
    return total.hexdigest()
