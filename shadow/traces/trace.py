"""A trace: what one hook was asked, what it decided, and what came of it, as columns."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ...sdk.kind import Kind
from . import files as trace_files
from .files import arrays_in
from .typed import require_types

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

__all__ = [
    "DecisionTrace",
    "FloatArray",
    "IndexArray",
    "Trace",
    "arrays_in",
    "broken_share",
    "checked",
    "clipped",
    "decision_trace",
    "load_trace",
    "saved_kind",
    "since_picked_column",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]
IndexArray: TypeAlias = npt.NDArray[np.int32]

#: Fewer decisions than this say too little about anything.
LEAST_DECISIONS = 200
#: A trace whose neighbouring decisions contradict each other more often has lost single decisions.
MOST_BROKEN = 0.05
#: Of files: the second has no optional columns, and a trace that needs none is still written so.
_FORMATS = (2, 3)


class Trace(ABC):
    """What was recorded of one hook, in order of time: the workload, and what came of it.

    A frozen dataclass of columns of equal length and a head of plain values; a kind whose workload is
    not its decisions has one of its own.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``time`` counts from.
        members: names of the items, by index; empty where they come and go.
        time: of everything that has an outcome, seconds since ``start_ns``, f8[n], ascending.
        outcome: the objective's metric as recorded, clipped, f8[n].
        recorded: whether it holds outcomes of a policy at all; an import may hold the workload only.
    """

    TYPE: ClassVar[str]
    COLUMNS: ClassVar[tuple[str, ...]]
    HEAD: ClassVar[tuple[str, ...]]
    #: Columns that came later, by the value that they have throughout where they say nothing; then they
    #: are neither written nor digested, so that a trace keeps its digest from version to version.
    OPTIONAL: ClassVar[Mapping[str, float]] = MappingProxyType({})
    #: Entries of the head that came later, by the value that says nothing; the same holds for them.
    LATER: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    hook: str
    kind: str
    start_ns: int
    members: tuple[str, ...]
    time: FloatArray
    outcome: FloatArray

    @property
    def recorded(self) -> bool:
        """Whether it holds outcomes of a policy."""
        return True

    @property
    def metrics(self) -> Mapping[str, FloatArray]:
        """What else was recorded of every outcome, by name, f8[n] each; NaN where it is unknown."""
        return MappingProxyType({})

    @property
    def picked(self) -> npt.NDArray[np.int64]:
        """Index of the member that each outcome is of, i8[n]; zeros where there are no members."""
        return np.zeros(len(self), np.int64)

    def __len__(self) -> int:
        """Return how much has an outcome."""
        return len(self.time)

    @cached_property
    def digest(self) -> str:
        """sha256 hex over the head and all columns."""
        return trace_files.digest_of(self._head(), self._columns.values())

    @property
    def span_s(self) -> float:
        """Seconds from the first to the last."""
        return float(self.time[-1] - self.time[0]) if len(self) else 0.0

    @property
    def block_s(self) -> float:
        """Seconds of a stretch that resampling keeps together."""
        return 1.0

    def window(self, low: float, high: float) -> Self:
        """Return what lies in ``low <= time < high`` (seconds); times stay as they are."""
        first, last = np.searchsorted(self.time, (low, high))
        return self.rows(slice(int(first), int(last)))

    @abstractmethod
    def rows(self, rows: slice) -> Self:
        """Return this part as a trace; times stay as they are."""

    def save(self, path: Path) -> None:
        """Write the trace, without pickle; its digest goes with it.

        Args:
            path: a file if it ends in ``.npz``; else a folder (``NAME.trace``), whose columns are mapped
                into memory when it is loaded and shared by all processes that do.

        Raises:
            TraceError: there is a folder of this name already.
        """
        trace_files.write(path, self._head(), self.digest, self._columns)

    @property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        """Columns that say anything, in order."""
        optional = self.OPTIONAL
        found = {name: getattr(self, name) for name in self.COLUMNS}
        return {
            name: column
            for name, column in found.items()
            if name not in optional or (column != optional[name]).any()
        }

    def _head(self) -> str:
        said = {name: getattr(self, name) for name in self.HEAD}
        silent = self.LATER.items()
        head = {name: value for name, value in said.items() if (name, value) not in silent}
        version = _FORMATS[bool(self.OPTIONAL.keys() & self._columns.keys())]
        return json.dumps({"format": version, "type": self.TYPE} | head, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote; raises TraceError when it is anything else or was changed."""
        said, digest, stored = trace_files.read(path)
        head = _plain_head(said, path)
        if head.pop("type", None) != cls.TYPE:
            raise TraceError(f"{path} is no trace of {cls.TYPE}; capture again")
        try:
            columns = {n: stored[n] for n in cls.COLUMNS if n not in cls.OPTIONAL or n in stored}
            plain = {name: _tuples((dict(cls.LATER) | head)[name]) for name in cls.HEAD}
        except KeyError as error:
            raise TraceError(f"{path} is not a saved trace ({error}); capture again") from error
        if trace_files.digest_of(said, columns.values()) != digest:
            raise TraceError(f"{path} was changed after it was saved; capture again")
        try:
            require_types(cls, plain, columns)
            return cls(**plain, **columns)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TraceError(f"{path} is not a saved trace ({reason}); capture again") from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain_head(text: str, path: Path) -> dict[str, Any]:
    """Return the values of a saved trace's head."""
    try:
        head: dict[str, Any] = json.loads(text)
        version = head.pop("format", None)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise TraceError(f"{path} is not a saved trace ({error}); capture again") from error
    if version not in _FORMATS:
        raise TraceError(f"{path} has a format of another version; capture again or upgrade")
    return head


def saved_kind(path: Path) -> str:
    """Return the name of the kind of a saved trace; raises TraceError for anything else."""
    return str(_plain_head(trace_files.read(path)[0], path).get("kind", ""))


@dataclass(frozen=True)
class DecisionTrace(Trace):
    """Recorded decisions of one hook, in order of time, over a fixed set of members.

    Attributes:
        hook: name of the hook.
        kind: name of its kind.
        start_ns: Unix time that ``time`` counts from.
        members: names of the items, by index.
        instances: ids of the processes, by index.
        time: when each decision was made, seconds since ``start_ns``, f8[n], ascending.
        instance: which process made it, i4[n].
        action: index of the picked member, i4[n].
        features: what the policy saw, members x inputs of the kind, f8[n, m, F].
        outcome: the objective's metric, clipped; an outcome that never came counts as the clip, f8[n].
        ok: whether the work succeeded, bool[n].
        propensity: probability with which the action was taken, f8[n], above 0 and at most 1; 1
            throughout where the rule decided alone (no ``explore=``).
    """

    TYPE: ClassVar[str] = "decisions"
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "time",
        "instance",
        "action",
        "features",
        "outcome",
        "ok",
        "propensity",
    )
    OPTIONAL: ClassVar[Mapping[str, float]] = MappingProxyType({"propensity": 1.0})
    HEAD: ClassVar[tuple[str, ...]] = ("hook", "kind", "start_ns", "members", "instances")

    hook: str
    kind: str
    start_ns: int
    members: tuple[str, ...]
    instances: tuple[str, ...]
    time: FloatArray
    instance: IndexArray
    action: IndexArray
    features: FloatArray
    outcome: FloatArray
    ok: npt.NDArray[np.bool_]
    propensity: FloatArray = field(default_factory=lambda: np.empty(0), kw_only=True)

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together."""
        if (
            not len(self.propensity) or "propensity" not in self.COLUMNS
        ):  # a subclass of old knows none
            object.__setattr__(self, "propensity", np.ones(len(self.time)))
        n, m = len(self.time), len(self.members)
        for name in self.COLUMNS:
            if len(getattr(self, name)) != n:
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {n} long; load again"
                )
        if self.features.ndim != 3 or self.features.shape[1] != m:
            raise TraceError(
                f"features of trace {self.hook!r} are not n x {m} x inputs; load again"
            )
        if not np.isfinite(self.time).all() or (np.diff(self.time) < 0).any():
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")
        self._refuse_strangers()
        if not ((self.propensity > 0.0) & (self.propensity <= 1.0)).all():
            raise TraceError(
                f"trace {self.hook!r} has propensities outside of (0, 1]; capture again"
            )

    def _refuse_strangers(self) -> None:
        """Refuse processes and picks that are none: compiled code takes them for indices unasked."""
        for name, end in (("instance", len(self.instances)), ("action", len(self.members))):
            column = getattr(self, name)
            bad = column[(column < 0) | (column >= end)]
            if len(bad):
                raise TraceError(
                    f"trace {self.hook!r} has {name} {bad[0]} of {end}; load or capture it again"
                )

    @property
    def picked(self) -> npt.NDArray[np.int64]:
        """Index of the picked member, i8[n]."""
        return self.action.astype(np.int64)

    def rows(self, rows: slice) -> DecisionTrace:
        """Return these decisions as a trace; they keep their own times."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.COLUMNS})


def load_trace(store: str | Path, hook: str | None = None) -> Trace:
    """Read a hook's trace from a trace store, as the simulator of its kind reads it.

    Args:
        store: folder or URI of the trace store.
        hook: name of the hook; None when the store holds one only.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
        ConfigurationError: the hook's kind is unknown, or has no simulator.
    """
    from ...policies.registry import kind as kind_named
    from ...recorder.store import TraceStore
    from ..simulators import simulator_for

    stored = TraceStore(store)
    name = hook if hook is not None else _only_hook(stored.hooks(), store)
    return simulator_for(kind_named(_kind_of(stored, name))).load(stored, name)


def _kind_of(stored: TraceStore, hook: str) -> str:
    """Return the name of the kind that a hook was recorded as."""
    for table in ("decisions", "workload"):
        batches = stored.batches(table, hook, ("kind",))
        names = sorted({name for each in batches for name in each["kind"].unique().to_pylist()})
        if len(names) > 1:
            raise TraceError(
                f"hook {hook!r} was recorded as {names}; keep one kind per trace store"
            )
        if names:
            return str(names[0])
    raise TraceError(f"hook {hook!r} has no records; capture some traffic first")


def decision_trace(stored: TraceStore, hook: str) -> DecisionTrace:
    """Read a hook's decisions: what most kinds replay.

    When members came or went, another policy decided (a canary, a promotion) or nothing was decided for
    half a minute, the longest stretch without such a change is taken.

    Args:
        stored: trace store.
        hook: name of the hook.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from . import decision_columns as _trace_columns

    return checked(_trace_columns.trace(stored.decisions(hook), stored.workload(hook), hook))


def _only_hook(hooks: Any, store: str | Path) -> str:
    names = sorted(hooks)
    if not names:
        raise TraceError(f"{store} holds no hooks yet; record some traffic first")
    if len(names) != 1:
        raise TraceError(f"{store} holds {', '.join(names)}; name one with --hook")
    return str(names[0])


def checked(trace: DecisionTrace) -> DecisionTrace:
    """Return the trace; raises TraceError when a replay of it could not be trusted."""
    if len(trace) < LEAST_DECISIONS:
        raise TraceError(
            f"trace {trace.hook!r} has {len(trace)} decisions with the same members and policy, too little data; "
            f"capture at least {LEAST_DECISIONS}"
        )
    broken = broken_share(trace)
    if broken > MOST_BROKEN:
        raise TraceError(
            f"trace {trace.hook!r} was sampled per call ({broken:.0%} of neighbouring decisions do not "
            "follow each other); record whole time windows"
        )
    return trace


def broken_share(trace: DecisionTrace) -> float:
    """Return the share of neighbouring decisions of a process with others missing between them.

    The member picked last has ``since_picked`` 1 at the next decision of the process, unless some
    decision in between was not recorded.
    """
    column = since_picked_column(trace)
    if column is None:
        return 0.0
    broken = pairs = 0
    for process in range(len(trace.instances)):
        at = np.flatnonzero(trace.instance == process)
        since = trace.features[at[1:], trace.action[at[:-1]], column]
        broken += int((since != 1.0).sum())
        pairs += len(since)
    return broken / pairs if pairs else 0.0


def since_picked_column(trace: DecisionTrace) -> int | None:
    """Return the index of ``since_picked`` among the features, which end with those of the host."""
    return trace.features.shape[2] - 2 if trace.features.shape[2] >= 2 else None


def clipped(values: npt.NDArray[Any], kind: Kind) -> FloatArray:
    """Return the objective's values, at most the clip; one that is missing counts as the clip."""
    clip = kind.objective.clip
    filled = np.nan_to_num(values.astype(np.float64), nan=clip, posinf=clip, neginf=math.inf)
    return np.minimum(filled, clip)
