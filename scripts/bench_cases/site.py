"""One self-attention as a model, so that methods are applied by the same hooks as on a complete denoiser."""

from collections.abc import Callable

import tomesd
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

import retom
from baselines.adapter import Adapter
from baselines.tomesd_package import ToMeSDPackage
from eval.generation.compiling import compile_in_place
from eval.speed.bench.cells import Cell
from eval.speed.bench.interleave import Case
from scripts.bench_cases.methods import Clock, Contender, clocked, compile_patched

INPUTS = 3  # different activations, in turn, so that no call repeats the previous one
CALLS = 1 << 20  # number of timesteps after which the schedule starts again


class SiteBlock(BasicTransformerBlock):
    """A transformer block reduced to its self-attention."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        return self.attn1(hidden_states)


class SiteParent(Transformer2DModel):
    """A transformer with one such block and without the projections."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, N, C]; no copy if the channels are innermost in memory."""
        return self.transformer_blocks[0](hidden_states.flatten(2).transpose(1, 2))


class OneSite(nn.Module):
    """A denoiser that is a single self-attention."""

    def __init__(self, cell: Cell):
        super().__init__()
        self.site = SiteParent(cell.heads, cell.channels // cell.heads, cell.channels, norm_num_groups=1)
        block = SiteBlock(cell.channels, cell.heads, cell.channels // cell.heads)
        if cell.attention == "naive":
            block.attn1.set_processor(AttnProcessor())
        self.site.transformer_blocks = nn.ModuleList([block])

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor | None = None) -> Tensor:
        """The self-attention of tokens passed as a feature map [B, C, H, W]."""
        return self.site(sample)


class GivenAttention(nn.Module):
    """Replaces the attention at no cost, so that all allocations are those of merging."""

    def __init__(self):
        super().__init__()
        self.known: dict[tuple[int, ...], Tensor] = {}

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None) -> Tensor:
        """An output of the right shape, created once. encoder_hidden_states: of methods that merge keys and values."""
        shape = tuple(hidden_states.shape)
        if shape not in self.known:
            self.known[shape] = torch.zeros(shape, dtype=hidden_states.dtype, device=hidden_states.device)
        return self.known[shape]


def site_model(cell: Cell, seed: int = 0) -> OneSite:
    """The site of a cell with random weights. The global random state is unchanged."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        site = OneSite(cell)
    return site.to(cell.device, getattr(torch, cell.dtype)).eval()


def site_inputs(cell: Cell, seed: int = 0) -> list[Tensor]:
    """Random activations, [B, N, C] in memory, viewed as feature maps [B, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randn(cell.batch, cell.tokens, cell.channels, generator=generator) for _ in range(INPUTS)]
    return [x.to(cell.device, getattr(torch, cell.dtype)).transpose(1, 2).unflatten(2, cell.grid) for x in tokens]


def site_case(cell: Cell, contender: Contender, site: OneSite, inputs: list[Tensor]) -> tuple[Case, Callable]:
    """Patch `site` with the contender; returns a case, and a function that reports the merges as a list.

    The tomesd package patches complete blocks with a copied forward. Here its merge, the attention alone and its
    unmerge are called as in that forward.
    """
    method, clock = contender.method, Clock(cell.device)
    eager = cell.mode == "eager"
    if isinstance(method, ToMeSDPackage):
        packaged = PackagedSite(site, method, clock if eager else None)
        case = Case(contender.name, _turn(_compiled(packaged, cell), inputs), planned=clock.take if eager else _unknown)
        return case, packaged.report
    if isinstance(method, Adapter):
        method.apply(site)
        case = Case(contender.name, _turn(_compiled(site, cell), inputs))
        return case, lambda: method.report(site)
    retom.apply_patch(site, clocked(method, clock) if eager else method, backend=contender.backend)
    compile_patched(site, cell.mode)
    case = Case(
        contender.name,
        _turn(site, inputs),
        begin=lambda: retom.reset(site),
        period=contender.period,
        planned=clock.take if eager else _unknown,
    )
    return case, lambda: retom.report(site)


class PackagedSite(nn.Module):
    """A site merged by the functions of the `tomesd` package."""

    def __init__(self, site: OneSite, method: ToMeSDPackage, clock: Clock | None):
        super().__init__()
        self.attention = site.site.transformer_blocks[0].attn1
        self.method = method
        self.clock = clock
        self.seen: tuple[int, int] | None = None
        device = next(site.parameters()).device
        self.generator = torch.Generator(device).manual_seed(0)

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """As `OneSite.forward`."""
        x = sample.flatten(2).transpose(1, 2)
        if self.clock is None:
            merge, unmerge = self._matching(x, sample.shape[-2:])
        else:
            with self.clock:
                merge, unmerge = self._matching(x, sample.shape[-2:])
        merged = merge(x)
        self.seen = (x.shape[1], merged.shape[1])
        return unmerge(self.attention(merged))

    def _matching(self, x: Tensor, grid: tuple[int, int]):
        height, width = grid
        return tomesd.merge.bipartite_soft_matching_random2d(
            x,
            width,
            height,
            self.method.sx,
            self.method.sy,
            int(x.shape[1] * self.method.ratio),
            no_rand=not self.method.use_rand,
            generator=self.generator,
        )

    def report(self) -> list[dict]:
        """What was merged, in the format of `retom.report`."""
        tokens, merged = self.seen or (None, None)
        return [{"tokens": tokens, "merged": merged}]


def _turn(model: Callable, inputs: list[Tensor]) -> Callable[[], Tensor]:
    """A call without arguments that uses the inputs in turn, at falling timesteps as in a sampler."""
    count = 0
    schedule = torch.arange(CALLS, 0, -1, dtype=torch.int32, device=inputs[0].device)

    def call() -> Tensor:
        nonlocal count
        count += 1
        torch.compiler.cudagraph_mark_step_begin()
        return model(inputs[count % len(inputs)], schedule[count % CALLS])

    return call


def _compiled(module: nn.Module, cell: Cell) -> Callable:
    compile_in_place(module, cell.mode)
    return module


def _unknown() -> None:
    return None
