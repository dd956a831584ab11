"""The state of one site while a model runs: its grid, its plans and its counts."""

import threading
import warnings
from typing import Any

import torch
from torch import Tensor

from retom.backends import check_backend
from retom.method import SiteContext, TokenMerger
from retom.patching.sites import Site, halvings
from retom.plans.base import Plan
from retom.plans.checks import check_returned, is_real, refused
from retom.state.generation import Session
from retom.state.rows import Rows, check_branches


class Grid:
    """The token grid (H, W) of one parent, or of the denoiser itself, in the current call of each thread."""

    def __init__(self) -> None:
        self._local = _GridOfThread()
        self.latest: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W); in a thread that never called the model, that of the last call."""
        own = self._local.size
        return self.latest if own is None else own

    @property
    def known(self) -> tuple[int, int]:
        """(H, W) within a call, where it is always known."""
        size = self.size
        assert size is not None
        return size

    def note(self, size: tuple[int, int]) -> None:
        """Store the grid of the call of this thread."""
        self._local.size = self.latest = size

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Grid.__init__(self)


class Slot:
    """What a site stores for one call sequence of one thread.

    stored: the class and the parts of a plan; None if the site is not merged. key: grid, rows, dtype and device that
    the plan was made for. memory: that of the method. fresh: whether the plan was made in this call.
    """

    def __init__(self) -> None:
        self.stored: tuple[Any, ...] | None = None
        self.key: tuple[Any, ...] | None = None
        self.memory: dict[str, Any] = {}
        self.fresh = False


class SitePatch:
    """The state of one site."""

    latest: Slot

    def __init__(self, site: Site, method: TokenMerger, backend: str, session: Session, grid: Grid):
        check_backend(backend)
        self.targets = frozenset(site.sublayers(tuple(method.targets)))
        self.site = site
        self.method = method
        self.backend = backend
        self.session = session
        self.grid = grid
        self.leader: SitePatch | None = None
        self.computed = self.reused = 0  # calls of the model that is not compiled
        self.planned_grid: tuple[int, int] | None = None
        self.merging: tuple[Any, ...] | None = None  # the last plan that merged: (M, grid)
        self.skipped: dict[str, str] = {}  # why a sub-layer was not merged, by target
        self.checked = False
        self._local = _SlotsOfThread()
        self.enter(0)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no plans, and continues the counts."""
        return {**vars(self), "_local": None, "latest": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._local = _SlotsOfThread()
        self.enter(0)

    @property
    def slot(self) -> Slot:
        """The slot of the current call."""
        own = self._local.slot
        return self.latest if own is None else own

    def enter(self, sequence: int) -> None:
        """Switch to the slot of a call sequence, by its number."""
        slots = self._local.slots
        while len(slots) <= sequence:
            slots.append(Slot())
        self._local.slot = self.latest = slots[sequence]

    def begin(self) -> None:
        """Discard the last generation of the thread."""
        self._local.slots[:] = [Slot()]

    def begin_compiled(self) -> None:
        """As `begin`, in a graph, which has one slot."""
        slot = self._local.slots[0]
        slot.memory.clear()
        self._local.slot = slot

    def plan_for(self, metric: Tensor) -> None:
        """Plan from metric [B, N, C] if a plan is due, or if the last one is for another grid, batch or dtype."""
        generation, slot = self.session.current, self.slot
        key = (self.grid.size, metric.shape[0], metric.dtype, metric.device)
        if not generation.refresh and slot.key == key:
            return
        if slot.memory and slot.key != key:
            slot.memory.clear()
        slot.fresh = True
        slot.key = key
        self.planned_grid = self.grid.size
        if self.leader is not None:
            slot.stored, self.merging = self.leader.slot.stored, self.leader.merging
            return
        plan = self._planned(metric, slot)
        if plan is not None:
            plan = plan.on(self.backend)
            if not plan.is_identity:
                self.merging = (plan.num_merged, self.planned_grid)
        slot.stored = None if plan is None else (type(plan), *plan.parts())

    def _planned(self, metric: Tensor, slot: Slot) -> Plan | None:
        """Call the method without autocast, which would compute similarities in half precision."""
        context = self._context(slot, metric)
        grid, device_type = self.grid.known, metric.device.type
        if torch.is_autocast_enabled(device_type):
            with torch.autocast(device_type, enabled=False):
                plan = self.method.plan(metric, grid, context)
        else:
            plan = self.method.plan(metric, grid, context)
        self._check(plan, metric)
        return plan

    def _context(self, slot: Slot, metric: Tensor) -> SiteContext:
        """The context that the method gets.

        The seeds come first: `torch.compile` reads arguments up to the first that is not a constant, and guards graphs
        by what it read. So equal blocks that are compiled one by one share a graph unless the method itself reads what
        distinguishes them.
        """
        generation = self.session.current
        self._check_rows(metric, generation.rows)
        return SiteContext(
            seeds=generation.row_seeds(generation.rows, metric.device),
            name=self.site.name,
            layer=self.site.layer,
            layer_type=self.site.layer_type,
            downsample=self._downsample(),
            step=generation.step,
            backend=self.backend,
            memory=slot.memory,
            output=generation.sequence.output,
            rows=generation.rows,
        )

    def _downsample(self) -> int:
        """By which factor the grid of this call is coarser than the model's top level."""
        top = self.session.current.top
        return self.site.downsample if top is None else halvings(top, self.grid.known)

    def _check_rows(self, metric: Tensor, rows: Rows) -> None:
        if rows.count != metric.shape[0]:
            raise ValueError(
                f"{self.site.name} is called with {metric.shape[0]} rows in a model that is called with {rows.count}, "
                "so it is unknown which image each row belongs to; disable what splits the batch (such as "
                "enable_free_noise_split_inference)"
            )
        check_branches(self.method.branches, rows)

    def _check(self, plan: Any, metric: Tensor) -> None:
        """ValueError unless the result is a plan for these tokens. Its contents are checked once, on the host."""
        if plan is None:
            return
        check_returned(plan, metric, self.method, self.site.name)
        if is_real(plan.dst_index) and not self.checked:
            self.checked = True
            try:
                plan.check()
            except ValueError as error:
                raise refused(self.method, self.site.name, f"is invalid: {error}") from error

    @property
    def plan(self) -> Plan | None:
        """The current plan; None if the site is not merged."""
        stored = self.slot.stored
        return None if stored is None else stored[0](*stored[1:])

    def skip(self, target: str, why: str) -> None:
        """Record that a sub-layer runs on all tokens, and warn once."""
        if target in self.skipped or torch.compiler.is_compiling():
            return
        self.skipped[target] = why
        warnings.warn(f"{self.site.name} is not merged: {why}", stacklevel=2)

    def run_merged(self, target: str) -> None:
        """Record that a sub-layer runs on merged tokens."""
        if not torch.compiler.is_compiling() and self.skipped:
            self.skipped.pop(target, None)

    def count(self) -> None:
        """Count a finished call of the model."""
        slot = self.slot
        self.computed += slot.fresh
        self.reused += not slot.fresh
        slot.fresh = False

    def report(self, computed: int, reused: int) -> dict[str, Any]:
        """What the site did, given the counts of the compiled model; see `retom.report`."""
        grid = self.planned_grid or self.grid.size
        tokens = None if grid is None else grid[0] * grid[1]
        merged, on_grid = self.merging or (tokens, None)
        idle = on_grid is None or on_grid != grid or self.targets <= set(self.skipped)
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if grid is None else list(grid),
            "tokens": tokens,
            "merged": tokens if idle else merged,
            "plans_computed": 0 if idle else computed + self.computed,
            "plans_reused": 0 if idle else reused + self.reused,
        }


class _GridOfThread(threading.local):
    """Python calls `__init__` in every thread that accesses it."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None


class _SlotsOfThread(threading.local):
    """Python calls `__init__` in every thread that accesses it."""

    def __init__(self) -> None:
        self.slots: list[Slot] = [Slot()]
        self.slot: Slot | None = None
