"""The baseline changes nothing."""

from baselines.adapter import Adapter
from baselines.none import Unmerged


def test_the_baseline_changes_nothing(tiny_original):
    before = {module: (type(module), dict(vars(module))) for module in tiny_original.unet.modules()}
    method = Unmerged()
    assert isinstance(method, Adapter)
    assert method.apply(tiny_original) == 0
    method.set_seeds(tiny_original, [1, 2])
    assert method.report(tiny_original) == []
    method.remove(tiny_original)
    assert before == {module: (type(module), dict(vars(module))) for module in tiny_original.unet.modules()}
    assert not method.merges
    assert method.batch_limit is None
