"""The folder of one run, `<root>/<experiment>/<method>-<hash>/`, with its `FILES` and images/."""

import contextlib
import dataclasses
import errno
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from eval import atomic
from eval.errors import RunError
from eval.records.canonical import canonical_json, pixel_hash, plain
from eval.records.contents import check_files, check_version, parse_config, parse_manifest, parse_shards, parse_weights
from eval.records.lock import exclusive, shared
from eval.records.schema import check_name, validate_record

_log = logging.getLogger(__name__)
_MIB = 1024**2
FILES = ("config.yaml", "manifest.jsonl", "weights.json", "shards.json", "record.json")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """One run's folder in `root` (usually results/runs). Nothing is created before `lock` or `open`.

    ValueError: experiment or method cannot be part of a path, or `hash` is not 12 hexadecimal digits.
    """

    root: Path
    experiment: str
    method: str
    hash: str

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root))
        check_name("experiment", self.experiment)
        check_name("method", self.method)
        if not re.fullmatch(r"[0-9a-f]{12}", str(self.hash)):
            raise ValueError(f"hash must be 12 hexadecimal digits (eval.records.pixel_hash), got {self.hash!r}")

    @classmethod
    def of(cls, record: Mapping, root: Path) -> "RunFolder":
        """The folder of the run of `record` in `root`."""
        return cls(root, record["experiment"], record["method"], record["pixel_hash"])

    @property
    def run_id(self) -> str:
        """The run's name in tables: `<experiment>/<method>-<hash>`."""
        return f"{self.experiment}/{self.method}-{self.hash}"

    @property
    def path(self) -> Path:
        return self.root / self.experiment / f"{self.method}-{self.hash}"

    @property
    def images(self) -> Path:
        return self.path / "images"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for a `with` block. RunError: another process (named by id and host) is writing it."""
        return exclusive(self.path / ".lock", f"Run folder {self.path}")

    @contextlib.contextmanager
    def lock_shard(self, name: str) -> Iterator[None]:
        """Hold one part of the folder while other processes hold other parts. `name`: the part, such as "1-of-4".

        RunError: another process generates this part or holds the folder.
        """
        with (
            shared(self.path / ".lock", f"Run folder {self.path}"),
            exclusive(self.path / f".lock-{name}", f"Shard {name} of run folder {self.path}"),
        ):
            yield

    def lock_start(self) -> contextlib.AbstractContextManager[None]:
        """Wait for the lock on config and manifest, which all parts share while they check and write them."""
        return exclusive(self.path / ".lock-start", f"Run folder {self.path}", wait=True)

    def open(self, config: Mapping) -> None:
        """Create the folder and save the resolved `config` in config.yaml, or check it against the saved one.

        A saved config with the same hash is replaced if only other keys (metrics, timing, batch size) changed.
        RunError: the saved config has another hash than the folder, or the folder cannot be written.
        ValueError: `config` itself does not belong here.
        """
        if pixel_hash(config) != self.hash:
            raise ValueError(f"config hashes to {pixel_hash(config)}, but the run folder is {self.path}")
        with _writing(self.path):
            self.images.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.images):
                atomic.clear(folder)
        self._refuse_links()
        kept = self._read("config.yaml", parse_config)
        if kept is not None and kept[1] != self.hash:
            raise RunError(
                f"Run folder {self.path} has a config.yaml that hashes to {kept[1]}, not to the folder's "
                f"{self.hash}; it was edited or moved: restore it, or move the folder away and run again."
            )
        if kept is not None and not (self.path / "record.json").exists():
            images = sum(1 for name in self.images.iterdir() if name.suffix == ".png")
            _log.info("Run folder %s has no record yet: its %d images are reused.", self.path, images)
        config = plain(config)
        if kept is None or canonical_json(kept[0]) != canonical_json(config):
            with _writing(self.path):
                atomic.write_text(
                    self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
                )

    def write_manifest(self, items: Iterable[Any]) -> None:
        """Save the list of images to generate (`PromptItem`s or dicts with key and file) before generating any.

        RunError: the existing manifest lists something else, or a file name would leave the folder.
        """
        wanted = [plain(_as_dict(item), f"manifest[{index}]") for index, item in enumerate(items)]
        check_files(wanted, self.path / "manifest.jsonl")
        kept = self.read_manifest()
        if kept is None:
            lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in wanted)
            with _writing(self.path):
                atomic.write_text(self.path / "manifest.jsonl", lines)
        elif kept != wanted:
            where = next((i for i, pair in enumerate(zip(kept, wanted, strict=False)) if pair[0] != pair[1]), None)
            what = f"{len(kept)} images, not {len(wanted)}" if where is None else f"another image on line {where + 1}"
            raise RunError(
                f"Run folder {self.path} has a manifest.jsonl with {what}; its prompts are not those of its config: "
                f"move the folder away and run again."
            )

    def keep_weights(self, hashes: Mapping[str, str]) -> None:
        """Save the sha256 of the weights used for the images, by file or component, or check against the saved ones.

        The configuration names a folder of weights by its path, whose contents may change before a run is resumed.
        RunError: the existing images were generated with other weights.
        """
        with self.lock_start():
            kept = self._read("weights.json", parse_weights)
            if kept is None:
                with _writing(self.path):
                    atomic.write_json(self.path / "weights.json", dict(hashes))
            elif kept != dict(hashes):
                other = sorted(name for name in {*kept, *hashes} if kept.get(name) != hashes.get(name))
                raise RunError(
                    f"Run folder {self.path} has images generated with other weights than the model has now "
                    f"({', '.join(other)}); restore those, or move the folder away and run again."
                )

    def add_shard(self, settings: Mapping) -> None:
        """Save the settings that a part of the images was generated with, next to those of other parts."""
        with self.lock_start():
            entries = [*self.read_shards(), plain(settings)]
            with _writing(self.path):
                atomic.write_json(self.path / "shards.json", entries)

    def read_shards(self) -> list[dict]:
        """The entries saved by `add_shard`, in the order in which the parts ended. A corrupt file is set aside."""
        return self._read("shards.json", parse_shards) or []

    def read_manifest(self) -> list[dict] | None:
        """The saved manifest, or None if there is none or it was corrupt (then it is set aside and a line is logged).

        RunError: it cannot be read, or a file name in it would leave the folder.
        """
        items = self._read("manifest.jsonl", parse_manifest)
        if items is not None:
            check_files(items, self.path / "manifest.jsonl")
        return items

    def image_path(self, item: Mapping) -> Path:
        """The image file of a manifest's item. RunError: its file name or a link would leave the folder."""
        check_files([item], self.path / "manifest.jsonl")
        path = self.images / item["file"]
        if path.is_symlink() or self.images.is_symlink():
            raise RunError(f"{path} is a link, but a run must be in one folder; remove it and run again.")
        return path

    def read_record(self) -> dict | None:
        """The saved record, or None if there is none or it was corrupt (then it is set aside and a line is logged).

        RunError: it cannot be read, or was written by another version of the harness.
        """
        record = self._read("record.json", json.loads, check=check_version)
        if record is None:
            return None
        try:
            validate_record(record)
            self._check_belongs(record)
        except (ValueError, RecursionError) as error:
            self._set_aside("record.json", str(error))
            return None
        return record

    def write_record(self, record: dict) -> None:
        """Replace record.json atomically.

        ValueError: it is not a valid record, or belongs to another run. RunError: the disk is full or read-only.
        """
        validate_record(record)
        self._check_belongs(record)
        with _writing(self.path):
            atomic.write_json(self.path / "record.json", record)

    def require_space(self, needed: int) -> None:
        """RunError unless the disk of the folder has `needed` bytes free."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        if free < needed:
            raise RunError(
                f"Run folder {self.path} needs {needed / _MIB:,.1f} MiB and its disk has {free / _MIB:,.1f} MiB free; "
                f"make room, or put the results on another disk."
            )

    def _refuse_links(self) -> None:
        for place in (self.images, *(self.path / name for name in FILES)):
            if place.is_symlink():
                raise RunError(
                    f"{place} is a link, but a run must be in one folder; replace it by its target, or move the whole "
                    f"results folder and link that."
                )

    def _check_belongs(self, record: Mapping) -> None:
        for key in ("experiment", "method"):
            if record[key] != getattr(self, key):
                raise ValueError(f"record.{key} is {record[key]!r}, but the run folder is {self.path}")
        if record["pixel_hash"] != self.hash:
            raise ValueError(f"record.pixel_hash is {record['pixel_hash']!r}, but the run folder is {self.path}")

    def _read(self, name: str, parse: Callable[[str], Any], check: Callable[[Any, Path], None] | None = None) -> Any:
        path = self.path / name
        try:
            value = parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}); give this user access to it.") from error
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            self._set_aside(name, " ".join(str(error).split()))
            return None
        if check is not None:
            check(value, path)
        return value

    def _set_aside(self, name: str, why: str) -> None:
        path = self.path / name
        number = next(i for i in range(1, 10**6) if not path.with_name(f"{name}.corrupt-{i}").exists())
        aside = path.with_name(f"{name}.corrupt-{number}")
        with _writing(self.path):
            path.rename(aside)
        _log.warning("%s is corrupt (%s): set aside as %s and rebuilt.", path, why, aside.name)


def _as_dict(item: Any) -> dict:
    return dataclasses.asdict(item) if dataclasses.is_dataclass(item) else dict(item)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable for this user"
        raise RunError(f"Run folder {path} cannot be written ({error.strerror}); {advice}, then run again.") from error
