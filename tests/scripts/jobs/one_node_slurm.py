"""A real Slurm of one node, this machine: munge, controller, node daemon, configured in a folder of its own."""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for as long as a credential lives.
AuthInfo=socket={folder}/munge.sock,cred_expire=6
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; empty where one can."""
    missing = [name for name in (*DAEMONS, "sbatch", "srun", "squeue") if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "the daemons of Slurm need root to start jobs"


@contextlib.contextmanager
def one_node(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """A running cluster that lives in `folder`; yields the environment with which its commands find it."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    facts = {"host": socket.gethostname().split(".")[0], "folder": folder, "cpus": cpus}
    facts |= dict(zip(("controller", "node"), _free_ports(2), strict=True))
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    files = {"key": "key", "socket": "sock", "pid": "pid", "log": "log", "seed": "seed"}
    places = [f"--{name}{'' if name == 'socket' else '-file'}={folder}/munge.{end}" for name, end in files.items()]
    with contextlib.ExitStack() as stack:
        for command in (["munged", "--foreground", "--force", *places], ["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, environment, folder))
        try:
            until(lambda: "idle" in ask(environment, "sinfo", "-h", "-o", "%T"), 60, "the node is idle")
            yield environment
        finally:
            ask(environment, "scancel", "--user", getpass.getuser())
            until(lambda: not ask(environment, "squeue", "-h").strip(), 30, "the queue is empty")


def ask(environment: dict[str, str], *command: str) -> str:
    """What a command of Slurm prints; empty where it fails."""
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False).stdout


def until(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `holds`. AssertionError when it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def processes_of(environment: dict[str, str], job: str) -> list[int]:
    """The Python processes of a job, array element "17_3" as Slurm names it."""
    array, _, task = job.partition("_")
    wanted = {f"SLURM_CONF={environment['SLURM_CONF']}", f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            python = b"submitit.core._submit" in (place / "cmdline").read_bytes().split(b"\0")
            if python and wanted <= set((place / "environ").read_text(errors="replace").split("\0")):
                found.append(int(place.name))
    return found


@contextlib.contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as out:
        daemon = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        time.sleep(0.5)  # each needs the one before it
        assert daemon.poll() is None, (folder / f"{command[0]}.out").read_text()
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
