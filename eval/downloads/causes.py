"""Why a download failed: a one-line cause and what to do, whichever library raised the error.

The errors of httpx, httpx2 and http.client do not derive from OSError, and huggingface_hub wraps some of them. An error
is therefore classified together with the errors it was raised from.
"""

import contextlib
import dataclasses
import errno
import http
import http.client
import os
import socket
import ssl
from collections.abc import Iterator

from eval.errors import RunError, first_line
from eval.interrupts import raise_if_pressed

PACKAGES = {"httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub", "requests", "urllib3", "urllib", "http"}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
RESETS = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
AGAIN = "check the connection and run the same command again, which resumes the download"
NO_NAME = ("name or service not known", "name resolution", "nodename nor servname", "getaddrinfo failed")


class PortalError(Exception):
    """The server returned a web page instead of a file."""


class CutError(Exception):
    """The connection ended before the download was complete."""


class WrongFileError(Exception):
    """The received or announced bytes are not those of the expected file."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """what: the reason. remedy: what to do. transient: whether a retry may succeed."""

    what: str
    remedy: str
    transient: bool = False


@contextlib.contextmanager
def explained(subject: str, way_out: str, page: str = "") -> Iterator[None]:
    """Turn a failed download inside the block into a RunError of one line.

    subject: such as "weights a.pt cannot be downloaded from http://host". way_out: what to do without a download.
    page: address of the repository's page, where its terms are accepted. Errors of other kinds propagate.
    """
    try:
        yield
    except Exception as error:
        raise_if_pressed()
        cause = cause_of(error, page)
        if cause is None:
            raise
        raise RunError(f"{subject} ({cause.what}); {cause.remedy}, or {way_out}") from error


def cause_of(error: BaseException, page: str = "") -> Cause | None:
    """The cause of a failed download, or None if `error` is not a download error."""
    if isinstance(error, RunError):
        return None
    chain = _chain(error)
    for judge in (_disk, _offline, _access, _content, _status, _network):
        for each in chain if judge is not _network else reversed(chain):  # the innermost one is specific
            found = judge(each, page)
            if found is not None:
                return found
    if any(type(each).__module__.partition(".")[0] in PACKAGES for each in chain):
        return Cause(f"{type(chain[-1]).__name__}: {first_line(chain[-1])}".rstrip("."), AGAIN, transient=True)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """`error` followed by the errors it was raised from, innermost last."""
    chain: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop(0)
        if each is not None and all(each is not other for other in chain):
            chain.append(each)
            reason = getattr(each, "reason", None)  # of urllib's URLError
            left += [each.__cause__, each.__context__, reason if isinstance(reason, BaseException) else None]
    return chain


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _disk(error: BaseException, _page: str) -> Cause | None:
    number = getattr(error, "errno", None)
    place = getattr(error, "filename", None)
    if number in DISK_FULL:
        return Cause(f"the disk is full{f' at {place}' if place else ''}", "make room and run the same command again")
    if number in NOT_WRITABLE and place:
        return Cause(f"{place} cannot be written", "choose a cache folder of your own (HF_HOME, RETOM_CACHE)")
    return None


def _offline(error: BaseException, _page: str) -> Cause | None:
    if "OfflineModeIsEnabled" in _kinds(error):
        return Cause(
            f"{offline_variable() or 'HF_HUB_OFFLINE'} is set and not everything is in the cache",
            "unset it on a machine with a network, download once, and use the same HF_HOME and RETOM_CACHE",
        )
    return None


def offline_variable(*others: str) -> str | None:
    """The environment variable (also of `others`) that forbids downloads, or None if downloads are allowed."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", *others):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None


def _access(error: BaseException, page: str) -> Cause | None:
    kinds, status = _kinds(error), status_of(error)
    from_hub = type(error).__module__.startswith("huggingface_hub")
    if "GatedRepoError" in kinds:
        return _gated(status, page)
    if "RevisionNotFoundError" in kinds:
        return Cause("the repository has no such revision", "check the revision")
    if "EntryNotFoundError" in kinds and status is not None:
        return Cause("the repository has no such file at this revision", "check the repository and its revision")
    if "RepositoryNotFoundError" in kinds:
        login = "" if _token() else ", and log in with `hf auth login` if it is private"
        return Cause("the hub has no such repository", f"check its name{login}")
    if from_hub and status == 401:
        return Cause(
            "the hub rejects the access token (401)",
            "log in again with `hf auth login`, or correct or unset HF_TOKEN",
        )
    if from_hub and status == 403:
        return _gated(status, page)
    return None


def _gated(status: int | None, page: str) -> Cause:
    at = f" at {page}" if page else ""
    if _token() is None:
        return Cause(
            "the repository is gated and there is no access token",
            f"accept its terms{at} and log in with `hf auth login`",
        )
    number = f" ({status})" if status else ""
    return Cause(
        f"the repository is gated and this account has no access{number}",
        f"accept its terms{at} with this account, wait until access is granted, or log in with another one "
        "(`hf auth login`)",
    )


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _content(error: BaseException, _page: str) -> Cause | None:
    kinds = _kinds(error)
    if kinds & {"PortalError", "FileMetadataError", "JSONDecodeError", "TooManyRedirects"} or status_of(error) == 511:
        return Cause(
            "the server returned a web page instead of the file, such as the login page of a network or a proxy",
            "log in to the network in a browser or correct the proxy (HTTPS_PROXY, HF_ENDPOINT)",
        )
    if isinstance(error, WrongFileError):
        return Cause(str(error), "run the same command again to start over")
    return None


def _status(error: BaseException, _page: str) -> Cause | None:
    status = status_of(error)
    if status is None or status < 400:
        return None
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "unknown"
    busy = status >= 500 or status in (408, 429)
    remedy = "wait a while and run the same command again" if busy else "check the address"
    return Cause(f"the server answers {status} {phrase}", remedy, transient=busy)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error of any client, or None."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _network(error: BaseException, _page: str) -> Cause | None:
    kinds, text = _kinds(error), str(error).lower()
    if isinstance(error, socket.gaierror) or any(part in text for part in NO_NAME):
        return Cause("the server's name cannot be resolved: there is no network, or no DNS", AGAIN, True)
    if isinstance(error, ssl.SSLError) or "certificate verify failed" in text:
        return Cause(
            f"no trusted connection: {first_line(error)}", "check the clock, proxy and certificates (SSL_CERT_FILE)"
        )
    if "ProxyError" in kinds:
        return Cause("the proxy refused the connection", "correct HTTPS_PROXY", True)
    for holds, what in (
        (isinstance(error, ConnectionRefusedError) or "connection refused" in text, "the connection was refused"),
        (isinstance(error, TimeoutError) or bool(kinds & {"TimeoutException", "Timeout"}), "the connection timed out"),
        (type(error) in RESETS, "the connection was reset"),
        (isinstance(error, CutError | http.client.HTTPException), f"the connection was lost: {_message(error)}"),
        (bool(kinds & {"ReadError", "RemoteProtocolError", "WriteError"}), "the connection was lost"),
        (bool(kinds & {"NetworkError", "ConnectError"}), "the server cannot be reached"),
        (getattr(error, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH), "there is no network"),
        ("consistency check failed" in text, "the connection was lost"),
    ):
        if holds:
            return Cause(what, AGAIN, transient=True)
    return None


def _message(error: BaseException) -> str:
    return first_line(error).rstrip(".")
