"""Whether a device has other work: what counts, what is reported, and that a busy processor is noticed."""

import os
import subprocess
import sys
import time

import pytest

from eval.speed.idle import CPU_SHARE, Disturbance, Watch, others_of, wait_until_idle


def cpu(share: float | None) -> Disturbance:
    return Disturbance("cpu", share, None)


def gpu(processes: int | None) -> Disturbance:
    return Disturbance("cuda", 0.9, processes)


@pytest.mark.parametrize(
    ("seen", "idle", "reason"),
    [
        (cpu(0.0), True, "other processes used 0%"),
        (cpu(CPU_SHARE), True, "other processes used 5%"),
        (cpu(0.5), False, "other processes used 50% of the machine's processor time"),
        (cpu(None), None, "it is unknown what else ran on the device"),
        (gpu(0), True, "0 other processes were on the GPU"),
        (gpu(2), False, "2 other processes were on the GPU"),
        (gpu(None), None, r"it is unknown what else ran on the device (no NVML)"),
    ],
)
def test_what_counts_as_idle(seen: Disturbance, idle: bool | None, reason: str) -> None:
    assert seen.idle is idle
    assert seen.reason.startswith(reason)


def test_this_process_is_not_another_one_even_under_a_hosts_id() -> None:
    assert others_of({7}, own=7) == 0
    assert others_of({7, 8}, own=7) == 1
    assert others_of({90001}, own=7) == 0  # in a container NVML names the host's ids
    assert others_of({90001, 90002}, own=7) == 1
    assert others_of(set(), own=7) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_another_process_at_work_is_noticed() -> None:
    watch = Watch("cpu")
    spin = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-S", "-c", spin], check=True)  # a child that is waited for counts as our own work
    own = watch.so_far().others_cpu_share
    other = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        time.sleep(0.1)
        watch = Watch("cpu")
        time.sleep(0.5)
        seen = watch.so_far()
    finally:
        other.kill()
        other.wait()
    assert 0 <= own <= 1
    assert seen.others_cpu_share > 0.3 / os.cpu_count() or own > 0.5  # or the machine is full of other work already
    assert seen.gpu_processes is None


def test_waiting_ends_when_it_is_idle_and_at_the_deadline() -> None:
    looks = iter([cpu(0.5), cpu(0.4), cpu(0.0), cpu(0.9)])
    assert wait_until_idle("cpu", 60, lambda: next(looks)) == cpu(0.0)
    assert wait_until_idle("cpu", 0, lambda: cpu(0.7)) == cpu(0.7)
