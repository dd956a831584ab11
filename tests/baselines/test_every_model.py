"""Every method on every family, from the real classes at tiny sizes: applied and removed exactly, or rejected."""

import pytest
import torch
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel

import retom
from baselines.adapter import Adapter
from baselines.atc import ATC
from baselines.ca_tome import CAToMe
from baselines.dynamic import Dynamic
from baselines.ibtm import IBTM
from baselines.oracle import Oracle
from baselines.sito import SiTo
from baselines.todo import ToDo
from baselines.tofu import ToFu
from baselines.toma import ToMA
from baselines.tomesd import ToMeSD
from baselines.tomesd_package import ToMeSDPackage
from tests.baselines.compiling import on
from tests.baselines.generating import snapshot
from tests.eval.tiny_families import PIXART
from tests.retom import tiny_joint
from tests.retom.tiny_unet import TINY

METHODS = {
    "retom": retom.ReToM(),
    "dynamic": Dynamic(end=retom.ReToM(ratio=0.25)),
    "tomesd": ToMeSDPackage(),
    "tomesd_plan": ToMeSD(),
    "atc": ATC(),
    "tofu": ToFu(prune=()),
    "tofu_pruning": ToFu(),
    "sito": SiTo(),
    "toma": ToMA(),
    "ca_tome": CAToMe(threshold=0.0),
    "ibtm": IBTM(),
    "todo": ToDo(),
    "oracle": Oracle(),
}
FAMILIES = ("sd15", "sd21", "pixart", "sd3", "sd35", "flux")
REFUSED = (
    {(name, family) for name in ("todo", "oracle") for family in ("sd3", "sd35", "flux")}
    | {("tomesd", family) for family in ("pixart", "sd3", "sd35", "flux")}
    | {("ibtm", "flux")}
)


def family(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in tiny_joint.MODELS:
            return tiny_joint.MODELS[name]()
        if name == "pixart":
            return PixArtTransformer2DModel(**PIXART).eval()
        linear = {"use_linear_projection": True, "attention_head_dim": (2, 4)} if name == "sd21" else {}
        return UNet2DConditionModel(**TINY | linear).eval()


def run(model):
    """One call at batch 1, or with two halves of guidance if the family has them."""
    if isinstance(model, tiny_joint.FluxTransformer2DModel):
        return tiny_joint.run(model)
    if isinstance(model, tiny_joint.SD3Transformer2DModel):
        return tiny_joint.run(model, batch=2)
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 7, 32, generator=generator)
    with torch.no_grad():
        return model(latents, timestep=torch.full((2,), 500), encoder_hidden_states=text).sample


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_serves_a_model_and_comes_off_or_is_refused(method, name):
    model, chosen = family(name), METHODS[method]
    before = snapshot(model)
    if (method, name) in REFUSED:
        with pytest.raises(ValueError, match=r"got |does not support|halves"), on(model, chosen):
            pass
        assert snapshot(model) == before
        return
    plain = run(model)
    with on(model, chosen) as report:
        merged = run(model)
        rows = report()
        assert torch.isfinite(merged).all()
        assert not torch.equal(merged, plain)
        assert any(row["merged"] < row["tokens"] for row in rows)
    assert snapshot(model) == before
    assert torch.equal(run(model), plain)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not isinstance(method, Adapter)])
def test_what_is_refused_is_known_of_a_model_without_weights(method, name):
    with torch.device("meta"):
        model = family(name)
    if (method, name) in REFUSED:
        with pytest.raises(ValueError, match=r"got |halves"):
            retom.check_model(model, METHODS[method])
    else:
        assert retom.check_model(model, METHODS[method]) > 0
