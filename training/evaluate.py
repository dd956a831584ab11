"""What the trained model is held to: figures on the held-out split, and images drawn by the pipeline."""

import torch
from diffusers import AutoencoderTiny, DiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer

from eval.fid import Moments, fid, moments
from eval.prompts import PromptSet
from eval.sampler import SamplerConfig, call_pipeline, configure
from training.autoencoder import psnr, rebuild
from training.classifier import predict
from training.clip import retrieval
from training.data import LabelledImages, to_signed


@torch.no_grad()
def draw(
    pipe: DiffusionPipeline, data: LabelledImages, per_class: int, sampler: SamplerConfig, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """`per_class` images of each class by the harness's prompts and seeds: uint8 [N, 3, 64, 64] and the classes [N]."""
    prompts = PromptSet(images_per_class=per_class, classes=[chosen.wnid for chosen in data.classes], seed=seed)
    items = prompts.items()
    configure(pipe, sampler)
    images = []
    for start in range(0, len(items), sampler.batch_size):
        part = items[start : start + sampler.batch_size]
        found = call_pipeline(
            pipe, [item.prompt for item in part], [item.seed for item in part], sampler, output_type="pt"
        ).images
        images.append((found.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
    return torch.cat(images), torch.arange(len(data.classes)).repeat_interleave(per_class)


@torch.no_grad()
def features(classifier: torch.nn.Module, images: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """The classifier's pooled features [N, d] of images [N, 3, 64, 64] in [-1, 1], on the CPU."""
    device = next(classifier.parameters()).device
    parts = (part.to(device) for part in images.split(batch))
    return torch.cat([classifier.resnet(part).pooler_output.flatten(1).float().cpu() for part in parts])


def recognised(classifier: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Which of the uint8 images [N, 3, 64, 64] the classifier takes for their class, bool [N]."""
    return predict(classifier, to_signed(images)) == labels


def held_out(
    classifier: torch.nn.Module, clip: CLIPModel, tokenizer: CLIPTokenizer, vae: AutoencoderTiny, val: LabelledImages
) -> dict:
    """Figures of the networks around the denoiser on the held-out images; shares from 0 to 1, PSNR in dB."""
    images = to_signed(val.pixels)
    rebuilt = rebuild(vae, images)
    return {
        "classifier_top1": float((predict(classifier, images) == val.labels).float().mean()),
        "clip_top1": retrieval(clip, tokenizer, val),
        "autoencoder_psnr": psnr(vae, val),
        "autoencoder_recognised": float((predict(classifier, rebuilt) == val.labels).float().mean()),
    }


def first(data: LabelledImages, per_class: int) -> torch.Tensor:
    """Up to `per_class` images of each class, uint8 [N, 3, 64, 64]: they give the scale of a distance."""
    places = [(data.labels == label).nonzero()[:per_class, 0] for label in range(len(data.classes))]
    return data.pixels[torch.cat(places)]


def distance(images: torch.Tensor, classifier: torch.nn.Module, reference: Moments) -> float:
    """Frechet distance of uint8 images to `reference` in the classifier's features."""
    return float(fid(features(classifier, to_signed(images)).double().numpy(), reference))


def score(
    images: torch.Tensor, labels: torch.Tensor, classifier: torch.nn.Module, reference: Moments, data: LabelledImages
) -> dict:
    """Of what `draw` returned: the share recognised as their prompt's class, overall and by class, and the distance."""
    right = recognised(classifier, images, labels)
    by_class = right.view(len(data.classes), -1).float().mean(1).tolist()
    return {
        "n": len(images),
        "recognised": round(float(right.float().mean()), 4),
        "fid_smoke": distance(images, classifier, reference),
        "by_class": {chosen.name: round(share, 4) for chosen, share in zip(data.classes, by_class, strict=True)},
    }


def reference_moments(classifier: torch.nn.Module, data: LabelledImages) -> tuple[Moments, torch.Tensor]:
    """Mean and covariance of the images' features, and the features [N, d] rounded to float16, which they are of."""
    found = features(classifier, to_signed(data.pixels)).half()
    return moments(found.double().numpy()), found
