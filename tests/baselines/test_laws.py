"""Every shipped method obeys the laws of docs/extending.md."""

from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate

import retom
from baselines.adapter import Adapter
from retom.testing import check_method
from scripts.jobs.shipped import shipped_options

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "method").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_method_holds_every_law(name):
    options = shipped_options(name)
    kind = get_class(options["_target_"])
    if issubclass(kind, retom.TokenMerger):
        check_method(instantiate(options))
    else:
        assert issubclass(kind, Adapter)  # it has no plan
