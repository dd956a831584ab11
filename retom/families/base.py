"""What a family of models must tell about its architecture.

Classes are recognised by name, subclasses included, so that no family imports its models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from retom.state.rows import Rows

Read = Callable[[str], Any]  # an argument of the current call by name; None if it was not passed


@dataclass(frozen=True)
class Positions:
    """Rotary positions that an attention gets as two tables, cosines and sines [T + N, D], text rows first.

    A merged token has the position of its destination. If destinations differ between the images of a call, queries and
    keys are rotated image by image where they are normalised, and the attention gets no tables.

    Attributes:
        argument: the argument of the attention that has the tables.
        image_norms: the modules of the attention that normalise queries and keys of `hidden_states`.
        text_norms: those of text that is passed beside it.
        processors: class names of processors that apply the tables after these norms, to interleaved pairs of channels.
    """

    argument: str
    image_norms: tuple[str, ...]
    text_norms: tuple[str, ...]
    processors: tuple[str, ...]


@dataclass(frozen=True)
class Sublayer:
    """A part of a block that can run on merged tokens.

    Attributes:
        module: its name in the block.
        tokens: its argument with the image tokens, [B, N, C].
        text: where text tokens are that attention joins with the image's: "before" them in the same sequence, or
            "beside" them in another argument (and in another output); None if it joins none.
        mask: its argument with a mask over tokens, which merged tokens would not match.
        positions: its rotary positions, if it gets any.
    """

    module: str
    tokens: str = "hidden_states"
    text: Literal["before", "beside"] | None = None
    mask: str | None = None
    positions: Positions | None = None


Blocks = Mapping[str, Mapping[str, Sublayer]]  # by class of a block and by target


class Family:
    """One architecture, or several that tell the same about themselves. Subclass it, and override what differs.

    Attributes:
        title: the family in a message.
        parents: classes of the modules that turn latents or a feature map into the tokens of their blocks.
        blocks: by class of a block, its sub-layers by target ("self", "self_kv", "cross", "ff"). "self_image" is a
            second self-attention, over image tokens alone; it shares target and plan of the first.
        parts: classes of models that are parts of this family's denoisers, and none themselves.
        latents, timestep, text: names of the denoiser's arguments; of `latents` the first that it has.
        marker: its argument that is another tensor in every generation, and the same within one; None if there is none.
        videos: classes of denoisers whose latents may be videos [B, C, F, H, W], merged frame by frame.
    """

    title: ClassVar[str]
    parents: ClassVar[tuple[str, ...]]
    blocks: ClassVar[Blocks]
    parts: ClassVar[tuple[str, ...]] = ()
    latents: ClassVar[tuple[str, ...]] = ("sample", "hidden_states")
    timestep: ClassVar[str] = "timestep"
    text: ClassVar[str] = "encoder_hidden_states"
    marker: ClassVar[str | None] = None
    videos: ClassVar[tuple[str, ...]] = ()

    def is_site(self, block: nn.Module, parent: nn.Module) -> bool:
        """Whether tokens can be merged in this block of this parent."""
        return is_named(block, self.blocks) and is_named(parent, self.parents)

    def sublayers(self, block: nn.Module) -> dict[str, Sublayer]:
        """The sub-layers that a block has, by target, in the order they run."""
        names = class_names(block)
        declared = next(sublayers for name, sublayers in self.blocks.items() if name in names)
        return {target: part for target, part in declared.items() if getattr(block, part.module, None) is not None}

    def rank(self, name: str) -> int:
        """Sites run in ascending rank of their names, and in the order of their numbers within a rank."""
        return 0

    def layer_type(self, name: str) -> str:
        """ "down", "mid" or "up": which window of three a site has. Where the grid never shrinks, "down"."""
        return "down"

    def downsamples(self, denoiser: nn.Module) -> dict[str, int]:
        """By which factor the grid of the modules with a name is coarser than the top level, where it is not 1."""
        return {}

    def grid(self, parent: Any, read: Read) -> tuple[int, int]:
        """The token grid (H, W) of a call of `parent`, whose arguments `read` returns."""
        raise NotImplementedError(f"{type(self).__name__} must define grid(parent, read)")

    def top(self, latents: Tensor) -> tuple[int, int] | None:
        """The grid (H, W) of the top level for these latents; None if the grid never shrinks."""
        return None

    def rows(self, denoiser: nn.Module, latents: Tensor, images: int | None) -> Rows:
        """The image (or video), branch of guidance and frame of each row at the sites.

        Here: guidance stacks batches branch by branch, and the frames of a video are consecutive rows.

        Args:
            denoiser: the module that predicts the noise.
            latents: [B, C, H, W], packed tokens [B, N, C], or videos [B, C, F, H, W].
            images: how many seeds were set; None for none.

        Raises:
            ValueError: for videos in a denoiser that takes none, or a batch that is not a multiple of the images.
        """
        if latents.ndim == 5 and not is_named(denoiser, self.videos):
            served = f"supported with videos are {', '.join(self.videos)}" if self.videos else "it takes images"
            raise ValueError(f"a {type(denoiser).__name__} is called with videos {list(latents.shape)}; {served}")
        frames = latents.shape[2] if latents.ndim == 5 else 1
        return Rows.of(latents.shape[0], frames, images)


def class_names(module: nn.Module) -> set[str]:
    """The names of a module's class and of those it inherits from."""
    return {kind.__name__ for kind in type(module).__mro__}


def is_named(module: nn.Module, names: Mapping[str, Any] | tuple[str, ...]) -> bool:
    """Whether a module is of a class with one of these names, or of a subclass."""
    return not class_names(module).isdisjoint(names)


def sides(feature_map: Tensor, patch: int = 1) -> tuple[int, int]:
    """The grid (H, W) of a feature map [..., H, W] in patches of `patch` x `patch`."""
    return feature_map.shape[-2] // patch, feature_map.shape[-1] // patch
