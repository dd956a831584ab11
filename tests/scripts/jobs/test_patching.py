"""A method on a model it cannot serve is refused before any weight is loaded, and kept as a failed row; others run."""

import pytest

from eval.generation import pipelines
from eval.generation.applied import merged
from scripts.jobs.patching import check_served
from scripts.jobs.run_row import run_row
from tests.eval.tiny_families import TRANSFORMERS, tiny_family


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function from a family to the folder of its tiny pipeline, as the hub's snapshot would be."""
    folders = {}

    def save(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            tiny_family(name).save_pretrained(folders[name])
        return folders[name]

    return save


@pytest.fixture
def family_row(smallest_row, saved):
    """A function from a family and overrides to a small row of its tiny pipeline, by the family's shipped choice."""

    def make(name, *overrides):
        small = ("sampler.height=64", "sampler.width=64", "sampler.dtype=float32", "sampler.device=cpu")
        rest = ("prompts=smoke", "prompts.classes=1", "reference=synthetic", "metrics=smoke_random", "timing=off")
        chosen = (f"model={name}", f"model.path={saved(name)}", *small, *rest)
        return smallest_row(*chosen, "sampler.steps=2", *overrides)

    return make


def record_of(row):
    return row.folder.read_record()


# DPMSolverMultistepScheduler itself hands torch tensors to numpy the old way.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_family_runs_from_a_folder_to_its_record(family_row, session, name):
    row = family_row(name, "method=retom_fixed_2")
    assert run_row(row, session) == "done"
    record = record_of(row)
    assert record["status"] == "ok"
    assert [merged(site) for site in record["merges"]] == [True] * len(record["merges"])
    assert all((site["grid"], site["merged"]) == ([16, 16], 128) for site in record["merges"])
    assert record["provenance"]["run"]["model"]["weights_of"] == "files"


def test_a_refused_method_loads_nothing_and_is_a_failed_row(family_row, session, monkeypatch):
    monkeypatch.setattr(pipelines, "load_pipeline", lambda *_: pytest.fail("weights were loaded"))
    row = family_row("sd3", "method=todo")
    with pytest.raises(
        ValueError, match=r"targets of a SD3Transformer2DModel.* must be one or more of self, ff .*, got"
    ) as no:
        run_row(row, session)
    record = record_of(row)
    assert (record["status"], record["error"]["sentence"]) == ("failed", str(no.value))
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("sd3", ["method=oracle"], "the oracle does not support SD3Transformer2DModel"),
        ("flux", ["method=tomesd"], "tomesd patches U-Nets with transformer blocks, got FluxTransformer2DModel"),
        ("pixart", ["method=deepcache"], "DeepCache wraps the blocks of a UNet2DConditionModel, got PixArt"),
        ("flux", ["method=ibtm"], "ibtm ranks tokens by the effect of guidance"),
        (
            "sd35_medium",
            ["method=none", "sampler.attention=naive"],
            "attention=naive is for U-Nets and PixArt",
        ),
    ],
)
def test_what_cannot_be_served_is_said_from_the_configuration(family_row, name, overrides, message):
    with pytest.raises(ValueError, match=message):
        check_served(family_row(name, *overrides))


@pytest.mark.parametrize("method", ["tomesd", "tomesd_plan", "atc", "ca_tome", "sito", "tofu", "ibtm", "todo"])
def test_what_would_merge_nothing_on_sdxl_is_said_from_the_configuration(smallest_row, method):
    row = smallest_row("model=sdxl_random", f"method={method}", "sampler.device=cpu", "timing=off")
    with pytest.raises(
        ValueError, match=rf"method {method} with these options merges at none of the 70 sites of model"
    ):
        check_served(row)
    deeper = "ratio_level_2=0.5" if method == "todo" else "max_downsample=2"
    check_served(smallest_row("model=sdxl_random", f"method={method}", f"method.{deeper}", "timing=off"))


@pytest.mark.parametrize("method", ["none", "retom", "tomesd_plan", "toma", "atc", "ca_tome", "sito", "tofu"])
def test_what_can_be_served_is_let_through(family_row, method):
    for name in ("flux", "sd3"):
        check_served(family_row(name, f"method={method}", "sampler.batch_size=2", "timing=default"))


def test_a_compiled_unet_is_refused_to_deepcache(smallest_row):
    check_served(smallest_row("method=deepcache"))
    with pytest.raises(ValueError, match=r"cannot run in a compiled U-Net; set sampler\.compile=false"):
        check_served(smallest_row("method=deepcache", "sampler.compile=true"))


@pytest.mark.parametrize("model", ["sd15", "sdxl", "pixart", "flux"])
def test_models_at_full_size_are_known_without_weights(smallest_row, model):
    check_served(smallest_row(f"model={model}_random", "method=retom", "sampler.device=cpu", "timing=off"))
