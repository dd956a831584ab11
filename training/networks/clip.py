"""A small CLIP: image and text tower with a joint embedding; the text tower is the pipeline's text encoder.

All images of a class have one caption, so the loss is supervised contrastive (Khosla et al. 2020, arXiv 2004.11362):
for an image, the candidates are the captions of all classes and its own is the positive; for a caption, the candidates
are the images of the batch and all images of its class are positives.
"""

import torch
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, CLIPVisionConfig

from eval.generation.models.tiny import clip_tokenizer, text_config
from training import augment
from training.choices import LoopConfig
from training.data import SIDE, LabelledImages, to_signed
from training.loop import Loop, Setting

TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4}
EMBEDDING = 64
MERGES, LENGTH = 2048, 32  # every prompt of the default template has at most 19 tokens for ImageNet's names in use here


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with its first merges, for prompts of up to 32 tokens."""
    found = clip_tokenizer(MERGES)
    found.model_max_length = LENGTH
    return found


def build(tokenizer: CLIPTokenizer, text: dict = TEXT, vision: dict = VISION) -> CLIPModel:
    """CLIP for images [B, 3, 64, 64] in [-1, 1] in patches of 8, and prompts of `tokenizer`."""
    texts = text_config(tokenizer, **text)
    texts.max_position_embeddings = tokenizer.model_max_length
    data = CLIPVisionConfig(**vision, image_size=SIDE, patch_size=8)
    return CLIPModel(CLIPConfig(text_config=texts.to_dict(), vision_config=data.to_dict(), projection_dim=EMBEDDING))


def tokens_of(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids [P, length], padded as in the pipeline."""
    return tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def train(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    train: LabelledImages,
    val: LabelledImages,
    config: LoopConfig,
    setting: Setting,
):
    """Train both towers on the prompts of the classes; returns the model in evaluation mode."""
    loop = Loop("clip", model, config, setting, len(train))
    ids = tokens_of(tokenizer, train.prompts()).to(setting.device)

    def loss_of(indices: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        images = to_signed(train.pixels[indices].to(setting.device))
        images = augment.colour(augment.shift_and_scale(augment.flip(images, generator), generator), generator)
        logits = loop.model(input_ids=ids, pixel_values=images).logits_per_image.float()  # [B, classes]
        return {"loss": contrast(logits, train.labels[indices].to(setting.device))}

    def evaluate() -> dict[str, float]:
        with setting.accelerator.autocast():
            return {"top1": retrieval(loop.model, tokenizer, val)}

    return loop.run(loss_of, evaluate=evaluate, every=500)


def contrast(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean of both directions' losses: `logits` [B, classes] of images and captions, `labels` [B]."""
    images = functional.cross_entropy(logits, labels)
    right = functional.one_hot(labels, logits.shape[1]).T.float()  # [classes, B]
    present = right.sum(1) > 0
    log_share = functional.log_softmax(logits.T, dim=1)
    texts = -(log_share * right).sum(1)[present] / right.sum(1)[present]
    return (images + texts.mean()) / 2


@torch.no_grad()
def retrieval(model: CLIPModel, tokenizer: CLIPTokenizer, data: LabelledImages, batch: int = 250) -> float:
    """The share of images in `data` whose nearest prompt is that of their class."""
    device = next(model.parameters()).device
    ids = tokens_of(tokenizer, data.prompts()).to(device)
    images = to_signed(data.pixels).split(batch)
    found = [model(input_ids=ids, pixel_values=part.to(device)).logits_per_image.argmax(1).cpu() for part in images]
    return float((torch.cat(found) == data.labels).float().mean())
