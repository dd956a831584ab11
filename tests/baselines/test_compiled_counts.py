"""A compiled method leaves as many tokens as an eager one, for any share, also on further grids."""

import pytest
import torch
from diffusers import UNet2DConditionModel

import retom
from baselines.ca_tome import CAToMe
from baselines.dynamic import Dynamic
from baselines.ibtm import IBTM
from baselines.oracle import Oracle
from baselines.sito import SiTo
from baselines.todo import ToDo
from baselines.tofu import ToFu
from baselines.toma import ToMA
from baselines.tomesd import ToMeSD
from retom.testing import UNET
from tests.baselines.compiling import Counter, on

METHODS = [
    Dynamic(retom.ReToM(ratio=0.29, window=10), end=retom.ReToM(ratio=0.57, window=10), levels=2, steps=2),
    ToMeSD(ratio=0.29),
    ToFu(ratio=0.29),
    SiTo(ratio=0.29),
    ToMA(ratio=0.29, side=3),
    CAToMe(threshold=0.0, ratio=0.29),
    IBTM(ratio=0.29, destinations=0.14, pool=0.57),
    ToDo(ratio=8 / 9),
    Oracle(ratio=0.29, window=10),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_counts_are_those_of_the_eager_model(method):
    torch.compiler.reset()
    model = UNet2DConditionModel(**UNET).eval()
    text = torch.randn(2, 7, 32)
    with on(model, method) as report, torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend=Counter())
        for size in [(10, 10), (12, 6)]:
            call = (torch.randn(2, 4, *size), torch.tensor(500))
            theirs = model(*call, text.clone(), return_dict=False)[0]  # its own text: its own generation
            eager = report()
            ours = compiled(*call, text.clone(), return_dict=False)[0]
            assert [site["merged"] for site in report()] == [site["merged"] for site in eager]
            assert eager[0]["merged"] < eager[0]["tokens"] == size[0] * size[1]
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
