"""A trace: what one hook decided, on which features, and what came of it, as columns."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..sdk.errors import TraceError
from ..sdk.kind import Kind

FloatArray: TypeAlias = npt.NDArray[np.float64]
IndexArray: TypeAlias = npt.NDArray[np.int32]

#: Fewer decisions than this say too little about anything.
LEAST_DECISIONS = 200
#: A trace whose neighbouring decisions contradict each other more often has lost single decisions.
MOST_BROKEN = 0.05
_FORMAT = 1
_COLUMNS = ("time", "instance", "action", "features", "outcome", "ok")


@dataclass(frozen=True)
class Trace:
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
    """

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

    def __post_init__(self) -> None:
        """Refuse columns that do not fit together."""
        n, m = len(self.time), len(self.members)
        for name in _COLUMNS:
            if len(getattr(self, name)) != n:
                raise TraceError(
                    f"column {name!r} of trace {self.hook!r} is not {n} long; load again"
                )
        if self.features.ndim != 3 or self.features.shape[1] != m:
            raise TraceError(
                f"features of trace {self.hook!r} are not n x {m} x inputs; load again"
            )
        if n and (np.diff(self.time) < 0).any():
            raise TraceError(f"trace {self.hook!r} is not in order of time; sort it first")

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self.time)

    @cached_property
    def digest(self) -> str:
        """sha256 hex over the head and all columns."""
        digest = hashlib.sha256(self._head().encode())
        for name in _COLUMNS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()

    @property
    def span_s(self) -> float:
        """Seconds from the first decision to the last."""
        return float(self.time[-1] - self.time[0]) if len(self) else 0.0

    def window(self, low: float, high: float) -> Trace:
        """Return the decisions with ``low <= time < high`` (seconds); they keep their own times."""
        first, last = np.searchsorted(self.time, (low, high))
        return self.rows(slice(int(first), int(last)))

    def rows(self, rows: slice) -> Trace:
        """Return these decisions as a trace; they keep their own times."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def save(self, path: Path) -> None:
        """Write the trace as ``.npz``, without pickle; its digest goes with it."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, head=self._head(), digest=self.digest, **columns)

    def _head(self) -> str:
        head = {
            "format": _FORMAT,
            "hook": self.hook,
            "kind": self.kind,
            "start_ns": self.start_ns,
            "members": self.members,
            "instances": self.instances,
        }
        return json.dumps(head, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read what :meth:`save` wrote; raises TraceError when it is anything else or was changed."""
        try:
            stored = arrays_in(path)
            columns: dict[str, Any] = {name: stored[name] for name in _COLUMNS}
            head, digest = json.loads(str(stored["head"])), str(stored["digest"])
        except (ValueError, KeyError) as error:
            raise TraceError(f"{path} is not a saved trace ({error}); capture again") from error
        if head.pop("format", None) != _FORMAT:
            raise TraceError(f"{path} has a format of another version; capture again or upgrade")
        trace = cls(
            **(head | {key: tuple(head[key]) for key in ("members", "instances")}), **columns
        )
        if trace.digest != digest:
            raise TraceError(f"{path} was changed after it was saved; capture again")
        return trace


def arrays_in(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of a ``.npz`` file, without pickle; raises ValueError when it is none."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz file" if path.exists() else "no such file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


def load_trace(store: str | Path, hook: str | None = None) -> Trace:
    """Read a hook's decisions from a trace store.

    When members came or went, another policy decided (a canary, a promotion) or nothing was decided for
    half a minute, the longest stretch without such a change is taken.

    Args:
        store: folder or URI of the trace store.
        hook: name of the hook; None when the store holds one only.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    from ..recorder.store import TraceStore
    from . import _trace_columns

    stored = TraceStore(store)
    name = hook if hook is not None else _only_hook(stored.hooks(), store)
    return checked(_trace_columns.trace(stored.decisions(name), stored.workload(name), name))


def _only_hook(hooks: Any, store: str | Path) -> str:
    names = sorted(hooks)
    if not names:
        raise TraceError(f"{store} holds no hooks yet; record some traffic first")
    if len(names) != 1:
        raise TraceError(f"{store} holds {', '.join(names)}; name one with --hook")
    return str(names[0])


def checked(trace: Trace) -> Trace:
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


def broken_share(trace: Trace) -> float:
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


def since_picked_column(trace: Trace) -> int | None:
    """Return the index of ``since_picked`` among the features, which end with those of the host."""
    return trace.features.shape[2] - 2 if trace.features.shape[2] >= 2 else None


def clipped(values: npt.NDArray[Any], kind: Kind) -> FloatArray:
    """Return the objective's values, at most the clip; one that is missing counts as the clip."""
    clip = kind.objective.clip
    filled = np.nan_to_num(values.astype(np.float64), nan=clip, posinf=clip, neginf=math.inf)
    return np.minimum(filled, clip)
