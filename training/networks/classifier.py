"""The classifier: a small residual network whose pooled features define the distances of the smoke profile."""

import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from training import augment
from training.choices import LoopConfig
from training.data import LabelledImages, to_signed
from training.loop import Loop, Setting

WIDTHS, DEPTHS = (48, 96, 192), (2, 2, 2)
SMOOTHING = 0.05


def build(data: LabelledImages, widths: tuple[int, ...] = WIDTHS, depths: tuple[int, ...] = DEPTHS):
    """A ResNet for images [B, 3, 64, 64] in [-1, 1] and the classes of `data`; features [B, widths[-1]].

    Its config contains the class names, their ImageNet indices (`imagenet_indices`) and WordNet ids (`wnids`).
    """
    names = {number: chosen.name for number, chosen in enumerate(data.classes)}
    config = ResNetConfig(
        num_channels=3,
        embedding_size=widths[0],
        hidden_sizes=list(widths),
        depths=list(depths),
        layer_type="basic",
        id2label=names,
        label2id={name: number for number, name in names.items()},
        imagenet_indices=[chosen.index for chosen in data.classes],
        wnids=[chosen.wnid for chosen in data.classes],
    )
    return ResNetForImageClassification(config)


def train(model: torch.nn.Module, train: LabelledImages, val: LabelledImages, config: LoopConfig, setting: Setting):
    """Train with flips, shifts, zooms, colours and CutMix; returns the model in evaluation mode."""
    loop = Loop("classifier", model.to(memory_format=torch.channels_last), config, setting, len(train))
    if config.compile:
        loop.model.compile()

    def loss_of(indices: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        images = to_signed(train.pixels[indices].to(setting.device))  # [B, 3, 64, 64]
        targets = functional.one_hot(train.labels[indices], len(train.classes)).float().to(setting.device)
        images = augment.colour(augment.shift_and_scale(augment.flip(images, generator), generator), generator)
        images, targets = augment.cutmix(images, targets, generator)
        logits = loop.model(images.contiguous(memory_format=torch.channels_last)).logits
        return {"loss": functional.cross_entropy(logits.float(), targets, label_smoothing=SMOOTHING)}

    return loop.run(loss_of, evaluate=lambda: {"top1": top1(loop.model, val, setting)}, every=500)


@torch.no_grad()
def predict(model: torch.nn.Module, images: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """The class [N] of images [N, 3, 64, 64] in [-1, 1]."""
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).logits.argmax(1).cpu() for part in images.split(batch)])


def top1(model: torch.nn.Module, data: LabelledImages, setting: Setting) -> float:
    """Top-1 accuracy on `data`."""
    with setting.accelerator.autocast():
        found = predict(model, to_signed(data.pixels))
    return float((found == data.labels).float().mean())
