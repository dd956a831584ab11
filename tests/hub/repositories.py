"""Repositories as the hub publishes them, from the real classes at tiny sizes: safetensors next to what is not wanted.

Each function writes one below a root that `tests.hub.server` serves, at the revision that conf/ or eval/ pins.
"""

import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from eval.downloads.digests import file_sha256
from eval.generation.models.architectures import SDXL_SCHEDULER, SDXL_UNET
from eval.generation.models.tiny import (
    TINY_MERGES,
    TINY_TEXT,
    TINY_VAE,
    assemble,
    clip_tokenizer,
    text_config,
    tiny_pipeline,
)
from eval.generation.prompts import imagenet_classes
from eval.metrics.clip_score import VIT_B32, VIT_L14, OpenClip
from tests.eval.tiny_families import tiny_family

CONF = Path(__file__).parents[2] / "conf"
IMAGENET = "ILSVRC/imagenet-1k"


def place(root: Path, kind: str, name: str, **about: object) -> Path:
    """An empty repository; the folder of its files."""
    files = root / kind / name / "files"
    files.mkdir(parents=True)
    (files.parent / "about.json").write_text(json.dumps(about))
    (files / "README.md").write_text("---\nlicense: other\n---\nRandom weights.\n")
    (files / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    return files


def published(root: Path, name: str, pipe: object, *, shards: str = "10GB", gated: object = False) -> Path:
    """The repository of conf/model/<name>.yaml with `pipe` in it."""
    model = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    about = {"commit": model.revision, "gated": gated, "pipeline": type(pipe).__name__}
    files = place(root, "models", model.repo, **about)
    pipe.save_pretrained(files, max_shard_size=shards)
    return files


def sd15(root: Path) -> Path:
    """Stable Diffusion 1.5 with everything in its repository: halves, .bin, non_ema, checkpoints, the checker."""
    files = published(root, "sd15", tiny_pipeline())
    for weights in sorted(files.glob("*/*.safetensors")):
        state = load_file(weights)
        save_file({key: value.half() for key, value in state.items()}, weights.with_suffix(".fp16.safetensors"))
        torch.save(state, weights.with_suffix(".bin"))
    shutil.copy(
        files / "unet" / "diffusion_pytorch_model.safetensors",
        files / "unet" / "diffusion_pytorch_model.non_ema.safetensors",
    )
    for name in ("v1-5-pruned-emaonly.safetensors", "v1-5-pruned.ckpt"):
        (files / name).write_bytes(b"\0" * 1_000_000)
    (files / "safety_checker").mkdir()
    (files / "safety_checker" / "config.json").write_text("{}")
    save_file({"x": torch.zeros(1000)}, files / "safety_checker" / "model.safetensors")
    index = json.loads((files / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (files / "model_index.json").write_text(json.dumps(index))
    return files


def sdxl(root: Path) -> Path:
    """SDXL base with a second VAE and ONNX files next to its components."""
    first, second = clip_tokenizer(TINY_MERGES), clip_tokenizer(TINY_MERGES, pad_token="!")
    text = TINY_TEXT | {"projection_dim": 32}
    width = 2 * TINY_TEXT["hidden_size"]
    small = {"block_out_channels": (32, 32, 64), "norm_num_groups": 16, "attention_head_dim": (2, 2, 4)}
    added = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 32 + 6 * 8}
    depths = {"transformer_layers_per_block": (1, 1, 2), "cross_attention_dim": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pipe = assemble(
            StableDiffusionXLPipeline,
            scheduler=EulerDiscreteScheduler(**SDXL_SCHEDULER),
            tokenizer=first,
            tokenizer_2=second,
            unet=UNet2DConditionModel(**SDXL_UNET | small | added | depths),
            vae=AutoencoderKL(**TINY_VAE, force_upcast=True),
            text_encoder=CLIPTextModel(text_config(first, **text)),
            text_encoder_2=CLIPTextModelWithProjection(text_config(second, **text)),
            add_watermarker=False,
        )
    files = published(root, "sdxl", pipe)
    shutil.copytree(files / "vae", files / "vae_1_0")
    (files / "vae_decoder").mkdir()
    (files / "vae_decoder" / "model.onnx").write_bytes(b"\0" * 1000)
    return files


def sd3(root: Path) -> Path:
    """Stable Diffusion 3, gated, its weights in shards."""
    return published(root, "sd3", tiny_family("sd3"), shards="20KB", gated="auto")


def pixart(root: Path) -> Path:
    """PixArt, its text encoder in shards."""
    return published(root, "pixart", tiny_family("pixart"), shards="20KB")


def imagenet(root: Path, classes: int = 3, per_class: int = 4, shards: int = 3) -> Path:
    """The gated data set: a validation split in shards, images of `classes` mixed over them, and a training file."""
    import pyarrow
    import pyarrow.parquet

    files = place(root, "datasets", IMAGENET, gated="auto", commit="1" * 40)
    generator, rows = np.random.default_rng(0), []
    spread = [kind for kind in imagenet_classes() if kind.index % (1000 // classes) == 0][:classes]
    for _ in range(per_class):
        for kind in spread:
            data = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(data, "JPEG")
            name = f"ILSVRC2012_val_{len(rows):08d}_{kind.wnid}.JPEG"
            rows.append(({"bytes": data.getvalue(), "path": name}, kind.index))
    (files / "data").mkdir()
    for shard in range(shards):
        part = rows[shard::shards]
        table = pyarrow.table({"image": [image for image, _ in part], "label": [label for _, label in part]})
        pyarrow.parquet.write_table(table, files / "data" / f"validation-{shard:05d}-of-{shards:05d}.parquet")
    (files / "data" / "train-00000-of-00294.parquet").write_bytes(b"never to be read")
    return files


def clip(root: Path, network: OpenClip) -> Path:
    """A CLIP of open_clip at its published size, its random weights in half precision."""
    import open_clip

    files = place(root, "models", network.weights.repo, commit=network.weights.revision)
    with torch.device("meta"):
        shapes = open_clip.create_model(network.architecture, device="meta", load_weights=False).state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=generator).mul_(0.02).half() for key, value in shapes.items()}
    save_file(state, files / network.weights.filename)
    return files


def both_clips(root: Path) -> None:
    """The two CLIPs of the real metrics."""
    for network in (VIT_B32, VIT_L14):
        clip(root, network)


class Layers(torch.nn.Module):
    """As the published TorchScript file is used: `layers` from pixels to 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        pool = torch.nn.AdaptiveAvgPool2d(1)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2048, 9, stride=32), pool, torch.nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def inceptions(root: Path) -> dict[str, str]:
    """Both Inception files below /plain; sha256 by the name of their constants in eval.metrics.features."""
    from torchvision.models import inception_v3

    from eval.metrics.features import CLEAN_INCEPTION, PYTORCH_INCEPTION

    folder = root / "plain"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.script")
        torch.manual_seed(2)
        torch.jit.script(Layers()).save(folder / CLEAN_INCEPTION.name)
        state = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False).state_dict()
        torch.save(state, folder / PYTORCH_INCEPTION.name)
    files = {"CLEAN_INCEPTION": CLEAN_INCEPTION.name, "PYTORCH_INCEPTION": PYTORCH_INCEPTION.name}
    return {constant: file_sha256(folder / name) for constant, name in files.items()}
