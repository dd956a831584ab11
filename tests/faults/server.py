"""Starts the real commands without paying their imports each time: `python -m tests.faults.server SOCKET`.

A parent imports what the commands import, once, and forks for every request. The child sets its arguments and working
folder, calls the command's `main()` and ends with its status: a process of its own, with its own memory, locks and
files, that can be killed. Before `main()` it may sabotage itself (tests.faults.sabotage).
"""

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path


def main(address: str) -> None:
    """Serve one request per connection: a line of JSON in; the child's process id and exit status out, a line each."""
    for name in ("scripts.run", "scripts.tables", "scripts.report", "tests.faults.sabotage"):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the watchers below are waited for by nobody
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            request = json.loads(connection.makefile().readline())
            if "preload" in request:
                _preload(request["preload"])
                connection.sendall(b"0\n0\n")
            elif os.fork() == 0:
                listener.close()
                _watch(connection, request)
            connection.close()


def _preload(names: list[str]) -> None:
    """Import what a first child was seen to import late, so that no later child pays for it."""
    for name in names:
        if name not in sys.modules and not name.startswith("_"):
            try:
                importlib.import_module(name)
            except Exception as error:  # such as a module that exists in its package's __init__ alone
                print(f"not preloaded: {name} ({type(error).__name__})", flush=True)


def _watch(connection: socket.socket, request: dict) -> None:
    """In a process between server and child: tell the child's id, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        connection.close()
        _run(request)
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict) -> None:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(request["folder"])
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(request["environment"])
        sys.argv = [request["module"], *request["arguments"]]
        for name, options in request["sabotage"].items():
            getattr(sys.modules["tests.faults.sabotage"], name)(**options)
        status = importlib.import_module(request["module"]).main()
        if request["learn"]:
            Path(request["learn"]).write_text(json.dumps(sorted(sys.modules)))
    except BaseException:  # whatever happens, this process must not go on as the server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
