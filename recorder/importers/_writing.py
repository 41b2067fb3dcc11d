"""From batches of columns to rows of the workload table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import Workload, WorkloadBatch
from ...sdk.spec import check_name
from ..rows import Joined, Source, tables
from ..store import TraceStore
from ._formats import FORMATS, Batch, Columns

#: Name and version of the kind whose events are written; the recorder does not import the kinds.
_KIND = ("cache", 1)
_HOUR_NS = 3_600 * 10**9
_STEP_S = 1e-3  # between accesses of a file without times
_LOOKUP = 0.0
_MOST_SIZE = 2.0**53

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to import.

    Attributes:
        format: a name of :data:`~gnomon.recorder.importers.FORMATS`.
        file: the trace; ``.gz``, ``.zst`` and ``.xz`` are decompressed.
        hook: name that the trace is to have.
        capacity: ``N``, or ``N%`` of the working set: of the distinct objects, or of the sum of the
            sizes with which they come first.
        ignore_size: whether every object is to have size 1.
        limit: the most accesses to read; None for all.
        columns: of a CSV file.
    """

    format: str
    file: Path
    hook: str
    capacity: str
    ignore_size: bool = False
    limit: int | None = None
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to.

    Attributes:
        hook: name of the hook.
        accesses: how many.
        objects: distinct keys; None where nothing asked for them.
        capacity: of the cache, in the unit of the sizes.
        turned_back: times that went back and take the latest before them.
        resized: sizes below 1 or missing, which count as 1.
        span_s: seconds from the first access to the last.
    """

    hook: str
    accesses: int
    objects: int | None
    capacity: float
    turned_back: int
    resized: int
    span_s: float


def import_trace(
    store: TraceStore, request: Request, progress: Progress = lambda _line: None
) -> Imported:
    """Write a public trace into a store as the workload of a hook of the kind ``cache``.

    Args:
        store: must not hold the hook yet.
        request: what to read, and what for.
        progress: is told how far it is.

    Raises:
        TraceError: the file is missing, cut, or not of that format; or the hook exists.
        ConfigurationError: an unknown format, or a capacity that is none.
    """
    read = FORMATS.get(request.format)
    if read is None:
        raise ConfigurationError(
            f"no format {request.format!r}; choose one of {', '.join(FORMATS)}"
        )
    share, number = _capacity(request.capacity)
    if request.limit is not None and request.limit < 1:
        raise ConfigurationError(f"a limit of {request.limit} accesses is none; give 1 or more")
    check_name(request.hook)
    refuse_existing(store, request.hook)
    writer = _Writer(store, request, progress, objects=_Objects() if share else None)
    try:
        # closed here: a generator that is left open would close its file whenever it is collected
        with closing(read(request.file, request.columns)) as batches:
            for batch in _limited(batches, request.limit):
                writer.write(batch)
        return writer.finish(share, number)
    except BaseException:  # an interruption too: half a trace would be taken for a whole one
        writer.withdraw()
        raise


def _capacity(text: str) -> tuple[float, float]:
    """Return (share of the working set, number), one of them 0."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0.0
    if not 0.0 < number < 2.0**53 or (text.endswith("%") and number > 100.0):
        raise ConfigurationError(
            f"{text!r} is no capacity; give a number above 0, or a part of the working set such as 10%"
        )
    return (number / 100.0, 0.0) if text.endswith("%") else (0.0, number)


def refuse_existing(store: TraceStore, hook: str) -> None:
    """Raise TraceError where a store holds a hook already."""
    if store.files.is_folder() and hook in store.hooks():
        raise TraceError(
            f"{store.files.root} holds a hook {hook!r} already; name another --hook or --out, or "
            "remove its folder if an import of it was killed"
        )


def _limited(batches: Iterator[Batch], limit: int | None) -> Iterator[Batch]:
    left = limit
    for batch in batches:
        few = slice(0, left)
        yield Batch(
            batch.key[few],
            None if batch.time is None else batch.time[few],
            None if batch.size is None else batch.size[few],
        )
        if left is not None and (left := left - len(batch.key)) <= 0:
            return


class _Objects:
    """The distinct keys so far, and the sum of the sizes with which they came first."""

    def __init__(self) -> None:
        self._known = np.zeros(0)
        self.size = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> None:
        distinct, first = np.unique(key, return_index=True)
        at = np.searchsorted(self._known, distinct)
        old = np.zeros(len(distinct), bool)
        inside = at < len(self._known)
        old[inside] = self._known[at[inside]] == distinct[inside]
        self.size += float(size[first[~old]].sum())
        self._known = np.insert(self._known, at[~old], distinct[~old])


class _Writer:
    """Writes batches and keeps the counts."""

    def __init__(
        self, store: TraceStore, request: Request, progress: Progress, objects: _Objects | None
    ) -> None:
        self._store = store
        self._request = request
        self._progress = progress
        self._objects = objects
        named = f"{request.hook}\n{request.format}\n{request.file.name}".encode()
        process = hashlib.blake2b(named, digest_size=8).hexdigest()
        self._source = Source(process, request.file.name, request.hook, *_KIND)
        self._written: list[str] = []
        self._seq = 1  # 0 is the event that the cache begins with
        self._first_ns: int | None = None
        self._last_ns = self._latest_ns = 0
        self._turned_back = self._resized = 0

    def write(self, batch: Batch) -> None:
        """Store a batch, one file per hour."""
        if not len(batch.key):
            return
        times, size = self._times(batch), self._sizes(batch)
        if self._objects is not None:
            self._objects.add(batch.key, size)
        hours = np.flatnonzero(np.diff(times // _HOUR_NS)) + 1
        for low, high in pairwise((0, *hours.tolist(), len(times))):
            part = slice(low, high)
            self._publish(_accesses(self._seq, times[part], batch.key[part], size[part]))
            self._seq += high - low
        self._progress(f"{self._seq - 1} accesses")

    def finish(self, share: float, number: float) -> Imported:
        """Store the event that the cache begins with, now that its capacity is known."""
        if self._first_ns is None:
            raise TraceError(f"{self._request.file} holds no accesses; name another file")
        capacity = number or float(max(1, int(self._working_set() * share)))
        if capacity >= _MOST_SIZE:
            raise TraceError(
                f"{self._request.file} has a working set of {self._working_set():g}, and no cache is "
                "larger than 2^53; give --capacity as a number, or import with --ignore-size"
            )
        settings = (("capacity", capacity), ("sampled", 1.0), ("policy", ""))
        self._publish(Workload(0, self._first_ns, "cache", settings))
        return Imported(
            hook=self._request.hook,
            accesses=self._seq - 1,
            objects=None if self._objects is None else len(self._objects),
            capacity=capacity,
            turned_back=self._turned_back,
            resized=self._resized,
            span_s=(self._last_ns - self._first_ns - 1) / 1e9,
        )

    def withdraw(self) -> None:
        """Remove what was stored, so that a failed import leaves no trace."""
        for path in self._written:
            self._store.files.remove(path)

    def _publish(self, record: Workload | WorkloadBatch) -> None:
        content = tables(self._source, Joined(workload=[record]))
        name = f"import-{self._source.process}-{record.seq:016d}"
        self._written += self._store.write(content, name)

    def _working_set(self) -> float:
        return self._objects.size if self._objects is not None else 0.0

    def _times(self, batch: Batch) -> npt.NDArray[np.int64]:
        """Return strictly ascending Unix nanoseconds; the first leaves room for the cache's event."""
        if batch.time is None:
            since = self._seq + np.arange(len(batch.key)) - 1
            times = np.round(since * (_STEP_S * 1e9)).astype(np.int64) + 1
        else:
            times = np.round(batch.time * 1e9).astype(np.int64) + 1
        if self._first_ns is None:
            self._first_ns = self._last_ns = int(times[0]) - 1
            self._latest_ns = int(times[0])
        latest = np.maximum.accumulate(np.concatenate(([self._latest_ns], times)))
        self._turned_back += int((times < latest[:-1]).sum())
        self._latest_ns = int(latest[-1])
        step = np.arange(len(times))
        ascending: npt.NDArray[np.int64] = (
            np.maximum.accumulate(np.maximum(times - step, self._last_ns + 1)) + step
        )
        self._last_ns = int(ascending[-1])
        return ascending

    def _sizes(self, batch: Batch) -> npt.NDArray[np.float64]:
        if batch.size is None or self._request.ignore_size:
            return np.ones(len(batch.key))
        if (batch.size >= _MOST_SIZE).any():
            raise TraceError(
                f"{self._request.file} has a size of {np.nanmax(batch.size):g}, more than 2^53; "
                "correct it, or import with --ignore-size"
            )
        small = ~(batch.size >= 1.0)
        self._resized += int(small.sum())
        return np.where(small, 1.0, batch.size)


def _accesses(
    seq: int,
    times: npt.NDArray[np.int64],
    key: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
) -> WorkloadBatch:
    columns = {"key": key, "size": size, "op": np.full(len(key), _LOOKUP)}
    values = tuple((name, column.astype("<f8").tobytes()) for name, column in columns.items())
    return WorkloadBatch(seq, "access", times.astype("<i8").tobytes(), values)
