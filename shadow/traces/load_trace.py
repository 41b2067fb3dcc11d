"""The trace of an expert placement: the load of every expert, window by window, whatever held it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...policies.expert_placement import MOST_LAYERS, MOST_LOAD, check_deployment
from ...sdk.errors import ConfigurationError, TraceError
from .trace import FloatArray, Trace

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

IntArray = npt.NDArray[np.int64]

#: Blocks that a trace is cut into; a quarter of it still has ten.
BLOCKS = 40
_PER_WINDOW = ("at", "index", "counts", "imbalance")


@dataclass(frozen=True)
class LoadTrace(Trace):
    """Recorded load of one hook of the kind ``expert_placement``: n windows, L layers, E experts.

    A placement that is decided on after window w is judged by window ``w + 1 + delay``. What counts
    are the judged windows from ``first`` on; a part of a trace keeps, before its first judged window,
    those that the decision on it saw. So no part sees a window that another part behind it is judged by.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``at`` counts from.
        replicas: slots of a layer.
        groups, nodes, ranks: of the deployment, as the policy is told.
        delay: windows between a decision and its use.
        policy: name of the published policy that was in production, or digest of a shipped one; empty
            where that is unknown.
        first: index of the first judged window, at least ``1 + delay``.
        at: when each window ended, seconds since ``start_ns``, f8[n], ascending.
        index: number of each window in the whole trace, i8[n]; a part keeps it.
        counts: load of each expert in each window, tokens, i8[n, L, E].
        imbalance: as recorded in each window, clipped; NaN where that is unknown, f8[n].
        placement: what the slots hold when the trace begins, i8[L, replicas].
        time: of the judged windows, seconds, f8[len].
        outcome: imbalance as recorded in the judged windows, f8[len].
        members: none.
    """

    TYPE = "loads"
    COLUMNS = (*_PER_WINDOW, "placement")
    HEAD = (
        "hook", "kind", "start_ns", "replicas", "groups", "nodes", "ranks", "delay", "policy", "first",
    )  # fmt: skip

    hook: str
    kind: str
    start_ns: int
    replicas: int
    groups: int
    nodes: int
    ranks: int
    delay: int
    policy: str
    first: int
    at: FloatArray
    index: IntArray
    counts: IntArray
    imbalance: FloatArray
    placement: IntArray
    time: FloatArray = field(init=False, repr=False, compare=False)
    outcome: FloatArray = field(init=False, repr=False, compare=False)
    members: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together; derive what counts."""
        self._check_columns()
        self._check_deployment()
        object.__setattr__(self, "time", self.at[self.first :])
        object.__setattr__(self, "outcome", self.imbalance[self.first :])

    def _check_columns(self) -> None:
        n = len(self.at)
        for name in _PER_WINDOW:
            if len(getattr(self, name)) != n:
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {n} long; load again"
                )
        if self.counts.ndim != 3 or not 1 <= self.counts.shape[1] <= MOST_LAYERS:
            raise TraceError(
                f"counts of trace {self.hook!r} are not windows x layers x experts with 1 to "
                f"{MOST_LAYERS} layers; load again"
            )
        if n and ((self.counts < 0).any() or self.counts.max() > MOST_LOAD):
            raise TraceError(
                f"trace {self.hook!r} has a load of {_worst(self.counts)}; loads are 0 to {MOST_LOAD:g}"
            )
        if n and not (np.diff(self.at) >= 0).all():
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")

    def _check_deployment(self) -> None:
        layers, experts = self.counts.shape[1:]
        try:
            check_deployment(experts, self.replicas, self.groups, self.nodes, self.ranks)
        except ConfigurationError as error:
            raise TraceError(
                f"trace {self.hook!r} has a deployment that cannot be: {error}"
            ) from error
        if self.delay < 0 or (len(self.at) and self.first < 1 + self.delay):
            raise TraceError(
                f"trace {self.hook!r} has a delay of {self.delay} windows and begins at window "
                f"{self.first}; nothing before window 1 + delay can be judged, load again"
            )
        held = self.placement
        if held.shape != (layers, self.replicas) or held.min() < -1 or held.max() >= experts:
            raise TraceError(
                f"trace {self.hook!r} begins with a placement that is none; load again"
            )

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return int(self.counts.shape[1])

    @property
    def experts(self) -> int:
        """How many experts a layer has."""
        return int(self.counts.shape[2])

    @property
    def recorded(self) -> bool:
        """Whether the imbalance of every judged window was recorded."""
        return bool(len(self.outcome)) and not np.isnan(self.outcome).any()

    @property
    def block_s(self) -> float:
        """Seconds of a stretch that resampling keeps together: a fortieth of the whole."""
        return max(self.span_s / BLOCKS, 1e-9)

    def rows(self, rows: slice) -> LoadTrace:
        """Return these judged windows as a trace, with those that the first decision on them saw."""
        low, high, _ = rows.indices(len(self))
        before = 1 + self.delay
        begin = self.first + low - before
        kept = slice(begin, self.first + high) if low < high else slice(0, 0)
        columns: dict[str, Any] = {name: getattr(self, name)[kept] for name in _PER_WINDOW}
        return replace(self, first=before, **columns)


def _worst(counts: IntArray) -> int:
    return int(counts.min() if counts.min() < 0 else counts.max())


def load_trace(stored: TraceStore, hook: str) -> LoadTrace:
    """Read the load of a hook of the kind ``expert_placement``.

    Of the process that recorded most windows, the longest stretch is taken in which no window is
    missing and neither the deployment, the model's shape nor the deciding policy changed.

    Args:
        stored: trace store.
        hook: name of the hook.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from .load_columns import trace

    return trace(stored.workload(hook), stored.decisions(hook), hook)
