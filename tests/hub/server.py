"""A hub on 127.0.0.1: repositories of a folder over the Hugging Face hub's protocol, with faults on request.

Below the root: `models/OWNER/NAME/files/...` and `datasets/OWNER/NAME/files/...`, each with an optional `about.json`
(`commit`, `gated`: false, "auto" or "refused", `pipeline`: the diffusers class), and `plain/...`, served as it is.
Large files are redirected to another host name, as the hub does. `bytes_sent` counts the bytes of files; listings cost
none.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = {".safetensors", ".bin", ".ckpt", ".parquet", ".pt", ".pth", ".model"}
PORTAL = b"<!DOCTYPE html><html><title>Welcome to the hotel</title><form>Room number</form></html>"
BLOCK = 1 << 16
TOKEN = "hf_allowed"


@dataclasses.dataclass
class Fault:
    """What goes wrong with requests whose path holds `where`, the next `times` times (-1: always).

    wait: seconds before the answer. pace: bytes a second. cut: hang up after so many bytes of a file; reset: by RST.
    status: this answer instead. portal: "page", a web page with status 200, or "redirect", the way to one.
    flip: one byte of each file differs. short: so many bytes fewer are announced and sent.
    """

    where: str = ""
    times: int = -1
    wait: float = 0
    pace: int = 0
    cut: int = 0
    reset: bool = False
    status: int = 0
    portal: str = ""
    flip: bool = False
    short: int = 0


@functools.cache
def digests(path: Path, size: int, _changed: int) -> tuple[str, str]:
    """sha1 as git names a file, and its sha256."""
    small, large = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            small.update(block)
            large.update(block)
    return small.hexdigest(), large.hexdigest()


def digests_of(path: Path) -> tuple[str, str]:
    status = path.stat()
    return digests(path, status.st_size, status.st_mtime_ns)


class Hub(ThreadingHTTPServer):
    """The server. `requests` counts by method and path; set `fault` at any time."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root, self.fault, self.requests, self.bytes_sent, self.guard = (
            root,
            Fault(times=0),
            Counter(),
            0,
            threading.Lock(),
        )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def about(self, kind: str, name: str) -> dict | None:
        """What is known of a repository; None where there is none."""
        folder = self.root / kind / name
        if not (folder / "files").is_dir():
            return None
        known = folder / "about.json"
        output = json.loads(known.read_text()) if known.is_file() else {}
        commit = hashlib.sha1(name.encode()).hexdigest()
        return {"commit": commit, "gated": False, "pipeline": None, "files": folder / "files"} | output

    def strike(self, path: str) -> Fault:
        """The fault that this request meets."""
        with self.guard:
            fault = self.fault
            if fault.where not in path or fault.times == 0:
                return Fault()
            fault.times -= fault.times > 0
            return dataclasses.replace(fault)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, self.query = unquote(url.path), parse_qs(url.query)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.guard:
            self.server.requests[f"{self.command} {path}"] += 1
        self.met = self.server.strike(path)
        time.sleep(self.met.wait)
        if self.met.portal == "redirect":
            return self.send(302, b"", Location=f"{self.server.address}/portal")
        if self.met.portal or path == "/portal":
            return self.send(200, PORTAL, Content_Type="text/html; charset=utf-8")
        if self.met.status:
            return self.refuse(self.met.status, None, HTTPStatus(self.met.status).phrase)
        words = path.strip("/").split("/")
        if words[0] == "api":
            return self.tell(*words[1:])
        if words[0] in ("plain", "store"):
            return self.give(self.server.root / "/".join(words[words[0] == "store" :]))
        return self.resolve(words) if "resolve" in words else self.refuse(404, None, "no such page")

    do_HEAD = do_POST = do_GET

    def tell(
        self, kind: str = "", owner: str = "", name: str = "", verb: str = "", revision: str = "main", *_: str
    ) -> None:
        """The API: a repository's description or its tree."""
        about = self.opened(kind, f"{owner}/{name}", revision)
        if about is None:
            return None
        files = sorted(path for path in about["files"].rglob("*") if path.is_file())
        if verb == "tree":
            return self.send_json([self.entry(about, path) for path in files])
        siblings = []
        for path in files:
            entry = self.entry(about, path)
            large = {"lfs": entry["lfs"] | {"sha256": entry["oid_large"]}} if "lfs" in entry else {}
            siblings.append({"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"], **large})
        pipeline = {"config": {"diffusers": {"_class_name": about["pipeline"]}}} if about["pipeline"] else {}
        head = {"_id": "0" * 24, "id": f"{owner}/{name}", "sha": about["commit"], "gated": about["gated"]}
        return self.send_json({**head, **pipeline, "private": False, "tags": [], "downloads": 0, "siblings": siblings})

    def entry(self, about: dict, path: Path) -> dict:
        small, large = digests_of(path)
        size = path.stat().st_size
        found = {
            "type": "file",
            "path": path.relative_to(about["files"]).as_posix(),
            "size": size,
            "oid": small,
            "oid_large": large,
        }
        return found | ({"lfs": {"oid": large, "size": size, "pointerSize": 130}} if path.suffix in LARGE else {})

    def opened(self, kind: str, name: str, revision: str) -> dict | None:
        """A repository at a revision; None after the refusal was sent."""
        about = self.server.about(kind, name) if kind in ("models", "datasets") else None
        if self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            return self.refuse(401, None, "Invalid credentials in Authorization header")
        if about is None:
            return self.refuse(
                404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found"
            )
        if revision not in ("main", about["commit"]):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return about

    def resolve(self, words: list[str]) -> None:
        """A file of a repository, or where it is."""
        kind = "datasets" if words[0] == "datasets" else "models"
        at = words.index("resolve")
        about = self.opened(kind, "/".join(words[at - 2 : at]), words[at + 1])
        if about is None:
            return None
        if about["gated"] and not self.headers.get("Authorization"):
            return self.refuse(401, "GatedRepo", "Access is restricted")
        if about["gated"] == "refused":
            return self.refuse(403, "GatedRepo", "You are not in the authorized list")
        path, commit = about["files"] / "/".join(words[at + 2 :]), {"X-Repo-Commit": about["commit"]}
        if not path.is_file():
            return self.refuse(404, "EntryNotFound", "Entry not found", **commit)
        small, large = digests_of(path)
        if path.suffix not in LARGE:
            return self.give(path, ETag=f'"{small}"', **commit)
        place = (
            f"http://localhost:{self.server.server_port}/store/{quote(path.relative_to(self.server.root).as_posix())}"
        )
        linked = {"X-Linked-ETag": f'"{large}"', "X-Linked-Size": str(path.stat().st_size)}
        return self.send(302, b"", Location=place, **linked, **commit)

    def give(self, path: Path, **heads: str) -> None:
        """A file's bytes, from where Range asks."""
        if not path.is_file():
            return self.refuse(404, None, "no such file")
        size, first = (
            path.stat().st_size,
            int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]),
        )
        if first >= size > 0:
            return self.send(416, b"", Content_Range=f"bytes */{size}")
        if first:
            heads["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        length = size - self.met.short - first
        self.begin(206 if first else 200, length, Content_Type="application/octet-stream", **heads)
        return None if self.command == "HEAD" else self.pour(path, first, length)

    def pour(self, path: Path, first: int, length: int) -> None:
        sent, stop = 0, self.met.cut or length
        with path.open("rb") as file:
            file.seek(first)
            while sent < min(stop, length):
                block = file.read(min(BLOCK, stop - sent, length - sent))
                if self.met.flip and sent <= length // 2 < sent + len(block):
                    spot = length // 2 - sent
                    block = block[:spot] + bytes([block[spot] ^ 1]) + block[spot + 1 :]
                self.wfile.write(block)
                sent += len(block)
                with self.server.guard:
                    self.server.bytes_sent += len(block)
                if self.met.pace:
                    time.sleep(len(block) / self.met.pace)
        if sent < length:
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        if self.met.reset:  # closing a socket that lingers for no time sends RST; nobody may send FIN before
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: int, code: str | None, message: str, **heads: str) -> None:
        output = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.send(status, json.dumps({"error": message}).encode(), **output, **heads)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def send(self, status: int, body: bytes, **heads: str) -> None:
        self.begin(status, len(body), **heads)
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, length: int, **heads: str) -> None:
        self.send_response(status)
        for name, value in heads.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A running hub for the block."""
    with Hub(root) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
