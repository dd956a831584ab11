"""Every stage trains, keeps checkpoints and curves, and goes on as if it had never stopped."""

import dataclasses

import pandas
import pytest
import torch

from eval.errors import RunError
from tests.training.conftest import SHORT, training_of
from training import checkpoint
from training.choices import STAGES, LoopConfig, TrainingConfig
from training.data import to_signed
from training.networks import autoencoder, clip


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_leaves_a_checkpoint_and_its_curve(trained, stage):
    folder = trained.setting.out
    assert trained.steps(stage)[0] == 2
    losses = pandas.read_csv(folder / f"{stage}_curve.csv")["loss"].dropna()
    assert len(losses) == 2
    assert losses.between(0, 1000).all()
    assert (folder / f"{stage}_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("stage", ["classifier", "clip"])
def test_a_resumed_stage_ends_with_the_same_weights(data, tmp_path, stage):
    straight = training_of(data, tmp_path / "straight", dataclasses.replace(SHORT, steps=4))
    straight.run(stage)
    training_of(data, tmp_path / "broken").run(stage)
    resumed = training_of(data, tmp_path / "broken", dataclasses.replace(SHORT, steps=4))
    resumed.run(stage)
    first, second = (checkpoint.read(one.setting.out / f"{stage}.pt") for one in (straight, resumed))
    assert first.step == second.step == 4
    assert [line["step"] for line in second.curve if "loss" in line] == [0, 1, 2, 3]
    assert_equal(first.state["model"], second.state["model"])
    assert_equal(first.state["ema"], second.state["ema"])
    assert_equal(first.state["optimizer"], second.state["optimizer"])


def test_a_resumed_denoiser_ends_with_the_same_weights(trained, data, tmp_path):
    runs = []
    for name, parts in (("straight", (4,)), ("broken", (2, 4))):
        for stage in ("autoencoder", "clip"):
            path = tmp_path / name / f"{stage}.pt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes((trained.setting.out / f"{stage}.pt").read_bytes())
        for steps in parts:
            training_of(data, tmp_path / name, dataclasses.replace(SHORT, steps=steps)).run("denoiser")
        runs.append(checkpoint.read(tmp_path / name / "denoiser.pt").state)
    for part in ("model", "ema", "optimizer"):
        assert_equal(runs[0][part], runs[1][part])


def test_training_changes_the_weights_and_not_the_global_random_state(trained):
    before = torch.random.get_rng_state()
    first = trained.build("denoiser")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_equal(first.state_dict(), trained.build("denoiser").state_dict())
    moved = trained.trained("denoiser").state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in first.state_dict().items())


def test_other_settings_cannot_go_on(trained, data):
    other = training_of(data, trained.setting.out, dataclasses.replace(SHORT, steps=4, lr=0.5))
    with pytest.raises(RunError, match=r"was trained with lr=0\.001, this run has 0\.5"):
        other.run("clip")
    with pytest.raises(RunError, match="has 2 steps, this run has 1; set as many or more"):
        training_of(data, trained.setting.out, dataclasses.replace(SHORT, steps=1)).run("clip")


def test_a_finished_stage_is_left_alone(trained, data):
    path = trained.setting.out / "clip.pt"
    before = path.stat().st_mtime_ns
    model = training_of(data, trained.setting.out).run("clip")
    assert path.stat().st_mtime_ns == before
    assert_equal(model.state_dict(), trained.trained("clip").state_dict())


def test_a_stage_needs_those_before_it(data, tmp_path):
    with pytest.raises(RunError, match=r"autoencoder\.pt does not exist; train the stage autoencoder first"):
        training_of(data, tmp_path).run("denoiser")


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    (tmp_path / "clip.pt").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"clip\.pt is not a checkpoint of this training"):
        training_of(data, tmp_path).run("clip")


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="steps must be an integer of at least 1, got 0"):
        LoopConfig(steps=0, batch=1, lr=1e-3)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 2"):
        LoopConfig(steps=1, batch=1, lr=1e-3, decay=2)
    with pytest.raises(ValueError, match=r"lr must be in \[0, inf\), got '1'"):
        LoopConfig(steps=1, batch=1, lr="1")
    with pytest.raises(ValueError, match=r"ema must be in \[0, 1\), got 1"):
        LoopConfig(steps=1, batch=1, lr=1e-3, ema=1)
    with pytest.raises(ValueError, match="compile must be true or false, got 'yes'"):
        LoopConfig(steps=1, batch=1, lr=1e-3, compile="yes")
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'int8'"):
        TrainingConfig("data", "out", SHORT, SHORT, SHORT, SHORT, dtype="int8")


def test_the_learning_rate_rises_stays_and_falls():
    loop = LoopConfig(steps=100, batch=1, lr=2.0, warmup=10, decay=0.5)
    rates = [loop.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:51] == [2.0] * 42
    assert rates[75] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-6)
    assert rates[51:] == sorted(rates[51:], reverse=True)


def test_scaled_latents_have_variance_one(trained):
    vae = trained.trained("autoencoder")
    with torch.no_grad():
        latents = vae.encode(to_signed(trained.train.pixels)).latents * vae.config.scaling_factor
    assert latents.shape == (12, autoencoder.CHANNELS, 16, 16)
    assert float(latents.square().mean()) == pytest.approx(1, abs=1e-3)


def test_contrast_takes_all_images_of_a_class_for_right():
    labels = torch.tensor([0, 0, 1])
    matched = 50 * torch.nn.functional.one_hot(labels, 3).float()
    # caption 0 has two right images with half of the weight each, the absent caption 2 counts for nothing
    assert float(clip.contrast(matched, labels)) == pytest.approx(torch.tensor(2.0).log().item() / 4, abs=1e-4)
    assert float(clip.contrast(-matched, labels)) > 10


def assert_equal(first: object, second: object) -> None:
    """Nested dicts and lists of tensors and numbers, bit by bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second
