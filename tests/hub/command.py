"""A command of scripts/ whose Inception files come from a hub of the tests: `python -m tests.hub.command run ...`.

Their sha256 are constants of eval.metrics.features, and the metrics refuse any other file, so the constants are
exchanged here, before anything reads them. HUB_PLAIN: the address of the files.
"""

import importlib
import os
import sys


def main() -> int:
    """Run `scripts.<name>` with the other arguments."""
    import eval.metrics.features as features

    for constant in ("CLEAN_INCEPTION", "PYTORCH_INCEPTION"):
        published = getattr(features, constant)
        digest = os.environ[constant]
        setattr(
            features, constant, type(published)(published.name, f"{os.environ['HUB_PLAIN']}/{published.name}", digest)
        )
    name = sys.argv.pop(1)
    return importlib.import_module(f"scripts.{name}").main()


if __name__ == "__main__":
    sys.exit(main())
