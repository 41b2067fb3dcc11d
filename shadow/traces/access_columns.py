"""From the trace store's workload table to the columns of a cache's trace, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ...recorder.store import TraceStore
from ...sdk.errors import TraceError
from .access_merge import HIT, TAKEN, Merged, Staged, complete, merge
from .access_spool import SAID, Said, Spool, chunks
from .access_trace import LOOKUP
from .trace import LEAST_DECISIONS

#: A stretch of which more accesses are missing is not replayed: every one of them changes contents.
MOST_LOST = 0.01
#: Keys are numbers of 32 bits.
MOST_KEYS = 2**31 - 1
#: Columns as they are staged, by process.
_STAGED = {"time": "<i8", "key": "<i4", "size": "<f8", "op": "<i1"}
#: Columns of a trace.
COLUMNS = {
    "at": "<f8", "instance": "<i4", "key": "<i4", "size": "<f8", "op": "<i1", "hit": "<i1",
}  # fmt: skip


class Head(NamedTuple):
    """What a trace says beside its columns.

    Attributes:
        start_ns: Unix time that its times count from.
        instances: ids of the processes.
        settings: of the cache of each.
    """

    start_ns: int
    instances: tuple[str, ...]
    settings: tuple[Said, ...]


class _Stretch(NamedTuple):
    """Accesses of one process under one ``cache`` event: rows [low, high) of its spool."""

    process: str
    settings: Said
    low: int
    high: int


def write_columns(stored: TraceStore, hook: str, folder: Path) -> Head:
    """Write the longest stretch of accesses of each process, all under one policy, as ``NAME.npy``.

    Args:
        stored: trace store.
        hook: name of the hook.
        folder: empty; other files in it may be removed afterwards.

    Raises:
        TraceError: nothing there, too little, or a trace that no replay can be faithful to.
    """
    spool = Spool(folder, hook)
    spool.fill(stored)
    stretches = [_longest(spool, process, hook) for process in spool.processes]
    chosen = _under_one_policy([each for each in stretches if each is not None])
    if not any(stretches):
        raise TraceError(
            f"hook {hook!r} has no event that says the cache's settings; they come within half a "
            "minute of traffic, record longer"
        )
    keys, staged = _stage(spool, chosen, folder)
    outcomes = bool(chosen and chosen[0].settings.policy)
    if outcomes and len(staged.key):
        complete(staged, keys)
    _refuse_few(staged, hook)
    start_ns = merge(staged, _columns(folder, _left(staged)), outcomes)
    settings = tuple(each.settings for each in chosen)
    return Head(start_ns, tuple(each.process for each in chosen), settings)


def _longest(spool: Spool, process: str, hook: str) -> _Stretch | None:
    """Return the longest stretch of a process; None where nothing says its settings.

    A store that began after the cache holds it with unknown contents; lookups that hit tell of them.
    """
    rows = spool.rows(process)
    begins: list[tuple[int, Said]] = []
    for part in chunks(len(rows)):
        for at in (np.flatnonzero(rows["op"][part] == SAID) + part.start).tolist():
            said = spool.said(process, int(rows["seq"][at]))
            if said.begins or not begins:
                begins.append((at, _sound(said, hook)))
    ends = [at for at, _ in begins[1:]] + [len(rows)]
    found = [
        _Stretch(process, said, at + 1, end) for (at, said), end in zip(begins, ends, strict=False)
    ]
    return max(found, key=lambda each: each.high - each.low, default=None)


def _sound(said: Said, hook: str) -> Said:
    if not (0.0 < said.capacity < np.inf and 0.0 < said.sampled <= 1.0):
        raise TraceError(
            f"hook {hook!r} recorded a cache of capacity {said.capacity:g} with "
            f"{said.sampled:g} of the keys; capture again"
        )
    return said


def _under_one_policy(stretches: list[_Stretch]) -> list[_Stretch]:
    """Return those under the policy with most accesses."""
    counts: dict[str, int] = {}
    for each in stretches:
        policy = each.settings.policy
        counts[policy] = counts.get(policy, 0) + each.high - each.low
    most = max(counts, key=lambda policy: counts[policy], default="")
    return [each for each in stretches if each.settings.policy == most and each.high > each.low]


def _stage(spool: Spool, stretches: list[_Stretch], folder: Path) -> tuple[int, Staged]:
    """Write the accesses of all stretches by process; return (number of keys, they)."""
    names: dict[str, Path] = {name: folder / f"{name}.staged" for name in _STAGED}
    files: dict[str, BinaryIO] = {name: path.open("wb") for name, path in names.items()}
    interned, ends = _Interned(), [0]
    try:
        for stretch in stretches:
            interned.begin()
            ends.append(ends[-1])
            for part in _accesses(spool, stretch):
                part["key"] = interned.codes(part["key"])
                ends[-1] += len(part["key"])
                for name, form in _STAGED.items():
                    part[name].astype(form).tofile(files[name])
    finally:
        for file in files.values():
            file.close()
    columns = {name: _mapped(names[name], form, ends[-1]) for name, form in _STAGED.items()}
    return interned.count, Staged(**columns, ends=np.array(ends, np.int64))


def _accesses(spool: Spool, stretch: _Stretch) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield a stretch's accesses as columns; times never go back."""
    rows = spool.rows(stretch.process)[stretch.low : stretch.high]
    lost = int(rows["seq"][-1] - rows["seq"][0]) + 1 - len(rows)
    if lost > MOST_LOST * len(rows):
        raise TraceError(
            f"process {stretch.process} lost {lost} accesses beside {len(rows)} that were recorded; "
            "record a smaller share of the keys"
        )
    latest = np.iinfo(np.int64).min
    for part in chunks(len(rows)):
        found = rows[part]
        found = found[found["op"] != SAID]  # settings that were only said again
        if len(found):
            time = np.maximum(np.maximum.accumulate(found["time"]), latest)
            latest = int(time[-1])
            yield {
                "time": time, "key": found["key"], "size": found["size"],
                "op": np.clip(found["op"], 0, 127),
            }  # fmt: skip


class _Interned:
    """Keys as dense numbers in the order in which they come, other ones for every process.

    Attributes:
        count: keys so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Go on to the next process, with which no key is shared."""
        self._known = np.zeros(0)
        self._codes = np.zeros(0, np.int32)

    def codes(self, keys: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Return the numbers of keys."""
        distinct, first, back = np.unique(keys, return_index=True, return_inverse=True)
        at = np.searchsorted(self._known, distinct)
        new = np.ones(len(distinct), np.bool_)
        inside = at < len(self._known)
        new[inside] = self._known[at[inside]] != distinct[inside]
        made = np.empty(int(new.sum()), np.int32)
        if self.count + len(made) > MOST_KEYS:
            raise TraceError(
                f"more than {MOST_KEYS} keys cannot be replayed; record a share of them"
            )
        made[np.argsort(first[new])] = np.arange(self.count, self.count + len(made))
        self.count += len(made)
        codes = np.empty(len(distinct), np.int32)
        codes[new] = made
        codes[~new] = self._codes[at[~new]]
        self._known = np.insert(self._known, at[new], distinct[new])
        self._codes = np.insert(self._codes, at[new], made)
        numbered: npt.NDArray[np.int32] = codes[back]
        return numbered


def _refuse_few(staged: Staged, hook: str) -> None:
    lookups = sum(
        int(((staged.op[part] == LOOKUP) | (staged.op[part] == HIT)).sum())
        for part in chunks(len(staged.op))
    )
    if lookups < LEAST_DECISIONS:
        raise TraceError(
            f"trace {hook!r} has {lookups} lookups of a cache under one setting, too little "
            f"data; capture at least {LEAST_DECISIONS}"
        )


def _left(staged: Staged) -> int:
    return sum(int((staged.op[part] != TAKEN).sum()) for part in chunks(len(staged.op)))


def _columns(folder: Path, n: int) -> Merged:
    """Make the files of a trace's columns."""
    return Merged(*(_reserved(folder / f"{name}.npy", form, n) for name, form in COLUMNS.items()))


def _reserved(path: Path, form: str, n: int) -> npt.NDArray[Any]:
    """Map a new file whose room on the disk is certain: a full disk is an error here, no crash later."""
    column = np.asarray(np.lib.format.open_memmap(path, "w+", form, (n,)))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return column


def _mapped(path: Path, form: str, n: int) -> npt.NDArray[Any]:
    """Map a column that may be written; an empty file cannot be mapped."""
    return np.asarray(np.memmap(path, form, "r+", shape=(n,))) if n else np.zeros(0, form)
