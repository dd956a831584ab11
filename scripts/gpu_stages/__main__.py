"""Do the order on standard input; the last line of standard output says how it ended, as JSON."""

import json
import os
import sys

from eval.interrupts import raise_if_pressed
from scripts.command_line.entry import is_sentence, print_error
from scripts.gpu_stages.order import BENCHES, MACHINE, Order


def main() -> int:
    """Do it. Returns 1 where it could not be done to its end; a row that failed is in the stage's files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler complains of every device it does not find
    os.environ.setdefault("TEARDOWN_CUPTI", "1")  # so that a profiled call slows down no launch after it
    order = Order(**json.load(sys.stdin))
    try:
        print(json.dumps({"error": None, "found": _do(order)}), flush=True)
    except Exception as error:
        raise_if_pressed()
        print_error(error)
        sentence = " ".join(str(error).split()) if is_sentence(error) else f"{type(error).__name__}: {error}"
        print(json.dumps({"error": " ".join(sentence.split())}), flush=True)
        return 1
    return 0


def _do(order: Order) -> object:
    """Run the stage; each is imported when it is its turn, since they need different packages."""
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
