"""Execute the order on standard input. The last line of standard output reports how it ended, as JSON."""

import json
import os
import sys

from eval.interrupts import raise_if_pressed
from scripts.command_line.entry import is_user_error, print_error
from scripts.gpu_stages.order import BENCHES, MACHINE, Order


def main() -> int:
    """Execute the order. Returns 1 if it did not complete; failed rows are in the stage's files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler warns about every device it does not find
    os.environ.setdefault("TEARDOWN_CUPTI", "1")  # so that a profiled call does not slow down later launches
    order = Order(**json.load(sys.stdin))
    try:
        print(json.dumps({"error": None, "found": _do(order)}), flush=True)
    except Exception as error:
        raise_if_pressed()
        print_error(error)
        message = " ".join(str(error).split()) if is_user_error(error) else f"{type(error).__name__}: {error}"
        print(json.dumps({"error": " ".join(message.split())}), flush=True)
        return 1
    return 0


def _do(order: Order) -> object:
    """Run the stage. Stages are imported on demand, since they need different packages."""
    if order.stage == MACHINE:
        from scripts.gpu_stages.machine import look

        return look(order)
    if order.stage == "agree":
        from scripts.gpu_stages.agree import agree

        return agree(order)
    if order.stage == "training":
        from scripts.gpu_stages.training import train

        return train(order)
    if order.stage in BENCHES:
        from scripts.gpu_stages.cells import bench

        return bench(order)
    from scripts.gpu_stages.seconds import seconds

    return seconds(order)


if __name__ == "__main__":
    sys.exit(main())
