"""The finished model as files: a diffusers pipeline folder, the two networks of the smoke metrics, their reference."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny, SchedulerMixin, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPModel, CLIPTokenizer, ResNetForImageClassification

from eval.atomic import replacing
from eval.downloads.digests import file_sha256
from eval.errors import RunError
from eval.generation.models.tiny import assemble
from training.data import LabelledImages
from training.evaluate import reference_moments

MAX_FILE, MAX_TOTAL = 15_000_000, 24_000_000  # bytes


def pipeline(
    unet: UNet2DConditionModel,
    vae: AutoencoderTiny,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    scheduler: SchedulerMixin,
) -> StableDiffusionPipeline:
    """The parts as a Stable Diffusion pipeline; its text encoder is the text tower of `clip` itself."""
    return assemble(
        StableDiffusionPipeline,
        unet=unet,
        vae=vae,
        text_encoder=clip.text_model,
        tokenizer=tokenizer,
        scheduler=scheduler,
    )


def export(
    pipe: StableDiffusionPipeline, classifier: torch.nn.Module, clip: CLIPModel, val: LabelledImages, folder: Path
):
    """Write everything but the card into the new `folder`, in float16, and check the sizes.

    The given models are converted to float16. RunError if a file or the total is too large to be shipped.
    """
    for part in (pipe.unet, pipe.vae, clip, classifier):  # clip contains the pipeline's text encoder
        torch.nn.Module.to(part, torch.float16)
    pipe.save_pretrained(folder / "pipeline", safe_serialization=True)
    classifier.save_pretrained(folder / "classifier")
    clip.save_pretrained(folder / "clip")
    write_reference(val, folder)
    check_sizes(folder)


def write_reference(val: LabelledImages, folder: Path) -> None:
    """reference.safetensors: features of the held-out images by the shipped classifier, as loaded, in float32."""
    classifier = ResNetForImageClassification.from_pretrained(folder / "classifier", dtype=torch.float32).eval()
    moments, features = reference_moments(classifier, val)
    tensors = {"mean": moments.mean, "covariance": moments.covariance, "features": features}
    metadata = {
        "n": str(len(val)),
        "pictures_sha256": val.hash,
        "classifier_sha256": file_sha256(folder / "classifier" / "model.safetensors"),
    }
    with replacing(folder / "reference.safetensors") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        temporary.chmod(0o644)  # safetensors creates the file with its own mode


def files(folder: Path) -> list[Path]:
    """Every file of an export but the card, in a fixed order."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def check_sizes(folder: Path) -> None:
    """RunError if a file has more than 15 MB, or all files have more than 24 MB."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files(folder)}
    for name, size in sizes.items():
        if size > MAX_FILE:
            raise RunError(f"{name} has {size} bytes, at most {MAX_FILE} can be shipped; make the network smaller")
    if sum(sizes.values()) > MAX_TOTAL:
        raise RunError(f"the export has {sum(sizes.values())} bytes, at most {MAX_TOTAL} can be shipped")
