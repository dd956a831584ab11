"""Whether a pipeline generates images from prompts alone, read from `model_index.json` before loading weights.

The class that the file names is looked up in the installed diffusers. The signature of its call decides.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from eval.errors import RunError

# Arguments set by eval.generation.calls.call_pipeline.
SET = ("prompt", "height", "width", "num_inference_steps", "guidance_scale", "generator")
FRAMES = ("num_frames", "video_length", "frames", "num_videos_per_prompt", "video", "control_video")
IMAGES = (
    *("image", "images", "mask_image", "control_image", "example_image", "reference_image"),
    *("image_embeds", "image_embeddings", "image_latents", "source_embeds"),
)
SUPPORTED = "a run needs a text-to-image pipeline, which takes a prompt alone"


def check_text_to_image(index: Mapping[str, Any], where: str, denoiser: Callable[[], Mapping[str, Any]]) -> None:
    """RunError if the pipeline of the `model_index.json` content `index` is not a text-to-image pipeline.

    where: the model and its folder or repository, for the message. denoiser: returns its configuration; called only
    to look for a text-to-image class with the same components.
    """
    name = index.get("_class_name")
    found = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (inspect.isclass(found) and issubclass(found, DiffusionPipeline)):
        raise RunError(
            f"{where}: model_index.json names the pipeline class {name!r}, which diffusers {diffusers.__version__} "
            "does not have; update diffusers or choose another model (code shipped with a model is not run)"
        )
    why = _why_not(found, index)
    if why:
        raise RunError(f"{where} is a {name}, which {why}; {SUPPORTED}: {_what_to_do(found, index, denoiser)}")


def _why_not(pipeline: type[DiffusionPipeline], index: Mapping[str, Any]) -> str | None:
    """Why `pipeline` cannot be called with a prompt alone, or None."""
    takes = inspect.signature(pipeline.__call__).parameters
    frames = [name for name in FRAMES if name in takes]
    if frames:
        return f"generates videos ({frames[0]})"
    images = [name for name in IMAGES if name in takes]
    if images and not _works_without_images(pipeline):
        return f"needs an image ({images[0]})"
    absent = [name for name in SET if name not in takes]
    if absent:
        return f"does not take {', '.join(absent)}"
    return None if "vae" in index else "has no vae"


def _works_without_images(pipeline: type[DiffusionPipeline]) -> bool:
    """Whether diffusers lists it for text-to-image, such as FluxKontextPipeline. Listed ControlNets need an image."""
    return pipeline in _text_to_image().values() and "Control" not in pipeline.__name__


def _text_to_image() -> dict[str, type[DiffusionPipeline]]:
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING  # imports every pipeline

    return dict(AUTO_TEXT2IMAGE_PIPELINES_MAPPING)


def _what_to_do(
    pipeline: type[DiffusionPipeline], index: Mapping[str, Any], denoiser: Callable[[], Mapping[str, Any]]
) -> str:
    if index.get("requires_aesthetics_score"):
        return "this is SDXL's refiner, which refines images of the base model; choose the base model"
    sibling = _sibling(pipeline)
    if sibling is None or _why_not(sibling, index):
        return "choose a text-to-image model"
    options = denoiser()
    channels, out = options.get("in_channels"), options.get("out_channels")
    if out is not None and channels is not None and channels > out:
        return f"choose a text-to-image model (this denoiser's {channels} input channels include an image)"
    return (
        f"{sibling.__name__} has the same components; in a copy of the folder, set _class_name in model_index.json to "
        f"{sibling.__name__} and pass it with model.path=FOLDER"
    )


def _sibling(pipeline: type[DiffusionPipeline]) -> type[DiffusionPipeline] | None:
    """The text-to-image class with the same components, by diffusers' own mappings."""
    from diffusers.pipelines.auto_pipeline import AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, AUTO_INPAINT_PIPELINES_MAPPING

    known = _text_to_image()
    for mapping in (AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, AUTO_INPAINT_PIPELINES_MAPPING):
        for key, found in mapping.items():
            if found is pipeline and key in known:
                return known[key]
    return None
