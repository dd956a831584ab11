"""The frame of every entry point: Hydra composes the configuration, jobs run, errors are printed as one line."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from eval.errors import RunError, first_line
from eval.interrupts import pressed, raise_if_pressed, remembering
from eval.records.schema import check_name
from scripts.command_line.arguments import check_arguments
from scripts.command_line.choices import overruled
from scripts.command_line.encoding import check_encoding, undecodable
from scripts.command_line.help import asks_for_help, page
from scripts.command_line.nearest import explain
from scripts.command_line.trust import check_composed, named_on_command_line, vetting

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
INTERRUPTED = 130
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # full or read-only: the same message everywhere
FOLDERS = tuple(str(ROOT / folder) for folder in ("eval", "retom", "baselines", "training", "scripts"))
HYDRA = str(Path(hydra.__file__).parent)

PLACES = ("results", "runs", "gates", "data", "out")

Job = Callable[[DictConfig, dict[str, str]], object]
Work = Callable[[DictConfig, dict[str, str]], int | None]


def compose_and_call(job: Job, config: str = "config") -> int:
    """Call `job` for every configuration of the command line with the composed values and the choice of each group.

    config: the file of conf/ to start from. With --help the command's page is printed and the process exits.

    Returns the exit status: 0, 1 after a mistake in the command line (reported in one line), 130 after Ctrl-C.
    `job` handles its own failures; an exception ends the sweep, and its return value goes to Hydra's sweeper.
    """

    if asks_for_help(sys.argv[1:]):
        _help(config)

    def task(composed: DictConfig) -> object:
        raise_if_pressed()
        check_composed(composed, trusted)
        _check_places(composed)
        choices = HydraConfig.get().runtime.choices
        return job(composed, {group: choice for group, choice in choices.items() if not group.startswith("hydra/")})

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler warns about every device it does not find
    os.environ.setdefault("TEARDOWN_CUPTI", "1")  # so that a profiled call does not slow down later launches
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(task)
    try:
        with remembering(), _errors_as_raised():
            check_encoding(sys.argv[1:])
            for sentence in overruled(CONF):
                say(sentence)
            check_arguments(sys.argv[1:], CONF, config)
            trusted = named_on_command_line(sys.argv[1:])
            with vetting(trusted):
                main()
    except KeyboardInterrupt:
        return interrupted()
    except Exception as error:
        if pressed():
            return interrupted()
        if isinstance(error, HydraException | OmegaConfBaseException):
            say(f"error: {explain(error, sys.argv[1:], CONF, config)}")
        elif isinstance(error, UnicodeDecodeError):
            say(f"error: {undecodable(CONF, error)}")
        else:
            print_error(error)
        return 1
    return 0


def _help(config: str) -> NoReturn:
    """Print the page of --help for the running command, and exit."""
    print(page(Path(sys.argv[0]), CONF, config), flush=True)
    sys.exit(0)


def _check_places(composed: DictConfig) -> None:
    """RunError if an output folder, file or name is not a string."""
    for key in PLACES:
        if key in composed and not (isinstance(composed[key], str) and composed[key]):
            raise RunError(f"{key} must be a text, got {composed[key]!r}; quote a number: {key}=\"'5'\"")
    if "runs" in composed:
        check_name("runs", composed.runs)


def interrupted() -> int:
    """Report an interruption; returns the exit status."""
    say("interrupted: finished work is saved; run the same command again to resume")
    return INTERRUPTED


def work_on_each(work: Work, config: str = "config") -> int:
    """Call `work` for every configuration of the command line; an error in one is printed and stops no other.

    `work` returns an exit status, None for 0. Returns the status of `compose_and_call`, or else the highest of theirs.
    """
    statuses: list[int] = []

    def job(composed: DictConfig, choices: dict[str, str]) -> None:
        try:
            statuses.append(work(composed, choices) or 0)
        except Exception as error:  # printed here, counted in the exit status
            raise_if_pressed()
            print_error(error)
            statuses.append(1)

    return compose_and_call(job, config) or max(statuses, default=0)


def print_error(error: Exception) -> None:
    """Print `error`: one line if a user can fix it, the full traceback if it is a bug."""
    if is_user_error(error):
        say(f"error: {_message(error)}")
    else:
        traceback.print_exception(error)


class ErrorsOnce:
    """Errors of several jobs: each message is printed once; later jobs refer to the first one."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def print_error(self, error: Exception, name: str) -> None:
        """Print `error` of the job `name` as `print_error` does, or name the job that had the same error."""
        first = self._first.get(str(error)) if is_user_error(error) else None
        if first is not None:
            say(f"error: {name}: the same error as {first}")
            return
        self._first[str(error)] = name
        print_error(error)

    def has(self, message: str) -> bool:
        """Whether the message was printed."""
        return message in self._first


def _message(error: Exception) -> str:
    if isinstance(error, OSError):
        place = f" at {error.filename}" if error.filename else ""
        return f"the disk cannot be written{place} ({error.strerror}); make room or choose another results folder"
    if isinstance(error, OmegaConfBaseException):
        return first_line(error)
    if isinstance(error, AssertionError):
        return "Hydra cannot read the command line; write every choice as name=value"
    return str(error)


def is_user_error(error: Exception) -> bool:
    """Whether the message is meant for a user: a RunError, or a ValueError raised by this project's own code.

    So are errors of Hydra and OmegaConf, which are about the command line and keys.
    Hydra asserts that no name is empty.
    """
    if isinstance(error, OSError):
        return error.errno in DISK
    if not isinstance(error, ValueError | AssertionError):
        return isinstance(error, RunError | HydraException | OmegaConfBaseException)
    frames = traceback.extract_tb(error.__traceback__)
    own = (HYDRA,) if isinstance(error, AssertionError) else (*FOLDERS, HYDRA)
    return bool(frames) and frames[-1].filename.startswith(own)


def say(text: str) -> None:
    """Print to the error stream and flush."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def given_arguments(arguments: Sequence[str]) -> Iterator[None]:
    """Let Hydra read `arguments` in place of the command line, as it does not know this project's own flags."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _errors_as_raised() -> Iterator[None]:
    """Let Hydra raise errors, instead of printing its own page and exiting."""
    name = "HYDRA_FULL_ERROR"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
