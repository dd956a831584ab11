# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look inside token merging
#
# This notebook patches a diffusers pipeline with ReToM, shows which tokens are merged, compares methods on one prompt,
# and reads the record of a benchmark run. It uses the 64 px model of this repository: no GPU, no download, about a
# minute on a CPU. Install the benchmark first (`make install`) and open the notebook from a checkout.

# %%
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import matplotlib.pyplot as plt
import numpy as np
import torch
import transformers

import retom

sys.path.extend(["..", "."])  # the checkout, for baselines/ and eval/: only retom is installed

from baselines.sito import SiTo
from baselines.tomesd import ToMeSD
from eval.assets import ASSETS
from eval.metrics.ssim import ssim

for library in (diffusers, transformers):  # no progress bars in this page
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()

# %% [markdown]
# ## Patch a pipeline
#
# `apply_patch` returns the number of sites: the transformer blocks in which tokens are merged. `ratio=0.5` removes half
# of the tokens before self-attention. Any diffusers pipeline of a [supported model](../docs/models.md) works the same
# way.

# %%
pipe = diffusers.StableDiffusionPipeline.from_pretrained(ASSETS / "tiny" / "pipeline", dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)


def generate(seed: int = 1, prompt: str = "A high quality photograph of a goldfish.") -> np.ndarray:
    """One image [64, 64, 3] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    options = {"height": 64, "width": 64, "num_inference_steps": 10, "guidance_scale": 3.0, "output_type": "np"}
    return pipe(prompt, generator=generator, **options).images[0]


baseline = generate()
print("sites:", retom.apply_patch(pipe, ratio=0.5))
merged = generate()

# %% [markdown]
# ## What happened at each site
#
# `report` has one entry per site: the token grid, the tokens `N` that came in, the tokens `M` that attention ran on,
# and how often a plan was computed or reused. The default period is 20 steps, so one plan serves all 10 steps of this
# image.

# %%
print(f"{'site':<46} {'grid':>8} {'N':>5} {'M':>5} {'plans':>6} {'reused':>7}")
for site in retom.report(pipe):
    grid = "x".join(map(str, site["grid"]))
    print(f"{site['site']:<46} {grid:>8} {site['tokens']:>5} {site['merged']:>5} "
          f"{site['plans_computed']:>6} {site['plans_reused']:>7}")  # fmt: skip
retom.remove_patch(pipe)

# %% [markdown]
# ## Windows on an image
#
# A method is a frozen dataclass with a `plan`. To look at the plans, subclass the method and keep what it returns. A
# plan is plain data: `assign` gives the slot of every token, `dst_index` the token whose place each slot keeps.


# %%
@dataclass(frozen=True)
class Watched(retom.ReToM):
    """ReToM that keeps every plan it makes, by site and step."""

    plans: dict = field(default_factory=dict, compare=False)

    def plan(self, metric, grid, context):
        plan = super().plan(metric, grid, context)
        self.plans[context.name, context.step] = grid, plan
        return plan


def roles(plan: retom.MergePlan, grid: tuple[int, int]) -> np.ndarray:
    """[H, W] for the first row of the batch: 0 a token left alone, 1 a destination, 2 a token merged into one."""
    size = torch.bincount(plan.assign[0], minlength=plan.num_merged)
    role = torch.where(size[plan.assign[0]] > 1, 2, 0)
    destinations = plan.dst_index[0]
    role[destinations] = (size[plan.assign[0, destinations]] > 1).long()
    return role.reshape(grid).numpy()


watched = Watched(ratio=0.5, period=5)  # windows of 2 x 2, and of 8 x 8 in the middle block
with retom.patched(pipe, watched):
    image = generate()
    site = retom.report(pipe)[-1]["site"]  # the last block on the way up

# %%
colours = np.array([[0, 0, 0, 0], [1, 0.8, 0, 0.75], [0.1, 0.1, 0.5, 0.6]])
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), dpi=80)
axes[0].imshow(image)
axes[0].set_title("image")
for panel, step in zip(axes[1:], (0, 5), strict=True):
    grid, plan = watched.plans[site, step]
    panel.imshow(image, extent=(0, grid[1], grid[0], 0))
    panel.imshow(colours[roles(plan, grid)], extent=(0, grid[1], grid[0], 0))
    panel.set_xticks(range(0, grid[1], 2), labels=[])
    panel.set_yticks(range(0, grid[0], 2), labels=[])
    panel.grid(color="white", linewidth=0.5)
    panel.tick_params(length=0)
    panel.set_title(f"plan of step {step}")
axes[0].axis("off")
figure.suptitle("yellow: destination of a window, blue: merged into it, clear: left alone", fontsize=9)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Compare methods
#
# Every method of the benchmark is a `TokenMerger` too, or an adapter around another package
# ([all methods](../docs/methods.md)). The same seed with the baseline and three methods at `ratio=0.5`:


# %%
def as_tensor(image: np.ndarray) -> torch.Tensor:
    """[3, H, W]."""
    return torch.from_numpy(image).permute(2, 0, 1).float()


methods = {"ReToM": retom.ReToM(ratio=0.5), "ToMeSD": ToMeSD(ratio=0.5), "SiTo": SiTo(ratio=0.5)}
figure, axes = plt.subplots(1, 4, figsize=(10, 3), dpi=80)
axes[0].imshow(baseline)
axes[0].set_title("baseline")
for panel, (name, method) in zip(axes[1:], methods.items(), strict=True):
    with retom.patched(pipe, method):
        image = generate()
        sites = retom.report(pipe)
    share = 1 - sum(s["merged"] for s in sites) / sum(s["tokens"] for s in sites)
    panel.imshow(image)
    panel.set_title(f"{name}: {share:.0%} merged\nSSIM {ssim(as_tensor(image), as_tensor(baseline)):.3f}", fontsize=10)
for panel in axes:
    panel.axis("off")
figure.tight_layout()
plt.show()

# %% [markdown]
# One image says little. The benchmark generates many, scores them, and writes the numbers with intervals.
#
# ## Read a record
#
# A run is one row of a table. It writes one `record.json` with the configuration, the environment, the merges at each
# site and the metrics. This command makes two runs of 20 images: the baseline and ReToM.

# %%
results = Path(tempfile.mkdtemp())
choices = ["model=tiny", "prompts.images_per_class=1", "timing=off", f"results={results}"]
command = [sys.executable, "-m", "scripts.run", "--multirun", "method=none,retom", *choices]
subprocess.run(command, cwd=ASSETS.parents[1], check=True, capture_output=True)
records = [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/*/record.json"))]

# %%
for record in records:
    for metric in ("fid_smoke", "clip_smoke", "ssim"):
        found = record["metrics"].get(metric)
        if found and found["interval"]:
            low, high = found["interval"]
            value = f"{found['value']:8.3f}   95% interval [{low:.3f}, {high:.3f}], n = {found['n']}"
            print(f"{record['method']:<6} {metric:<11} {value}")

# %% [markdown]
# Metrics that end in `_smoke` come from small networks trained with this model: they are not FID and not CLIP score.
# The [column dictionary](../results/README.md) explains every field of a record. Next: a table of several methods in
# the [tutorial](../docs/tutorial.md), or [your own method](../docs/extending.md).
