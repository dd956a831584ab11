"""Errors of every client that downloads, judged together with those they were raised from."""

import errno
import http.client
import json
import logging
import socket
import ssl
import urllib.error

import httpx
import pytest

from eval.downloads.causes import cause_of, explained
from eval.errors import RunError
from eval.silence import silent_building, silent_downloads

REQUEST = httpx.Request("GET", "http://host/file")


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "what", "transient"),
    [
        (http.client.IncompleteRead(b"abc", 7), "the connection was lost", True),
        (http.client.RemoteDisconnected("closed"), "the connection was (reset|lost)", True),
        (httpx.ReadError("", request=REQUEST), "the connection was lost", True),
        (httpx.ReadTimeout("", request=REQUEST), "the connection timed out", True),
        (httpx.RemoteProtocolError("peer closed", request=REQUEST), "the connection was lost", True),
        (
            raised_from(httpx.ConnectError("", request=REQUEST), ConnectionRefusedError()),
            "connection was refused",
            True,
        ),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "name cannot be resolved", True),
        (urllib.error.URLError(socket.gaierror(-3, "Temporary failure")), "name cannot be resolved", True),
        (urllib.error.URLError(ssl.SSLCertVerificationError("certificate verify failed")), "no trusted", False),
        (ConnectionResetError(104, "reset"), "the connection was reset", True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "there is no network", True),
        (OSError(errno.ENOSPC, "No space", "/cache/file"), "the disk is full at /cache/file", False),
        (raised_from(OSError("cannot load"), OSError(errno.EDQUOT, "quota")), "the disk is full", False),
        (PermissionError(errno.EACCES, "denied", "/cache"), "/cache cannot be written", False),
        (json.JSONDecodeError("Expecting value", "<html>", 0), "a web page", False),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(502)), "answers 502 Bad Gateway", True),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(404)), "answers 404 Not Found", False),
    ],
)
def test_the_cause_is_found_in_the_chain(error, what, transient):
    wrapped = raised_from(RuntimeError("a library's own page of advice"), error)
    for each in (error, wrapped):
        cause = cause_of(each)
        assert cause.transient is transient
        with (
            pytest.raises(RunError, match=rf"^it is not available \(.*{what}.*\); .*, or do without$"),
            explained("it is not available", "do without"),
        ):
            raise each


@pytest.mark.parametrize(
    "error", [KeyError("x"), ZeroDivisionError(), AttributeError("no such name"), RunError("output")]
)
def test_what_is_no_failure_of_a_download_passes(error):
    assert cause_of(error) is None
    with pytest.raises(type(error)), explained("it is not available", "do without"):
        raise error


def test_requests_are_not_logged_and_other_lines_are(caplog):
    caplog.set_level(logging.INFO)
    with silent_downloads():
        logging.getLogger("httpx").info("HTTP Request: GET http://host")
        logging.getLogger("mine").info("mine")
    logging.getLogger("httpx").info("after")
    assert [record.getMessage() for record in caplog.records] == ["mine", "after"]


def test_building_a_clip_says_nothing_and_others_may(caplog):
    import open_clip

    caplog.set_level(logging.INFO)
    with silent_building():
        open_clip.get_tokenizer("ViT-B-32-quickgelu")
        logging.info("mine")
    assert [record.getMessage() for record in caplog.records] == ["mine"]
