"""Recorded accesses on their way from a trace store to columns: per process, in order, on disk.

A store gives rows in any order. They are appended to one file per process and put into the order of
the process's sequence numbers only where they are not in it already, which takes 8 bytes of memory a
row; everything else goes through in batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.cache import cache
from ...recorder.schema import WORKLOAD
from ...recorder.store import TraceStore
from ...sdk.errors import TraceError

#: One row; op -1 says the cache's settings.
ROW = np.dtype([("seq", "<u8"), ("time", "<i8"), ("key", "<f8"), ("size", "<f8"), ("op", "<i8")])
SAID = -1
_NO_OP = 127  # an access that is none, which a trace refuses
CHUNK = 1 << 16
_COLUMNS = (
    "workload_id", "process", "kind", "kind_version", "time", "event", "numbers", "texts",
)  # fmt: skip

Rows = npt.NDArray[np.void]


class Said(NamedTuple):
    """A ``cache`` event.

    Attributes:
        capacity, sampled, policy, ttl: the settings.
        begins: whether what the cache held before is forgotten.
    """

    capacity: float
    sampled: float
    policy: str
    ttl: float
    begins: bool


class Spool:
    """Rows of one hook by process, in a folder.

    Args:
        folder: to work in; its files may be removed when the spool is not used any more.
        hook: name.
    """

    def __init__(self, folder: Path, hook: str) -> None:
        self._folder = folder
        self._hook = hook
        self._files: dict[str, Path] = {}
        self._said: dict[tuple[str, int], Said] = {}

    def fill(self, stored: TraceStore) -> None:
        """Take all rows of the hook from a store.

        Raises:
            TraceError: none, or of another kind.
        """
        for batch in stored.batches(WORKLOAD, self._hook, _COLUMNS):
            if batch.num_rows:
                self._refuse_others(batch)
                self._append(batch)
        if not self._files:
            raise TraceError(f"hook {self._hook!r} has no accesses; record or import some first")

    @property
    def processes(self) -> list[str]:
        """Ids of the processes, in order."""
        return sorted(self._files)

    def rows(self, process: str) -> Rows:
        """Return the rows of a process by sequence number, each once, on disk."""
        path = self._files[process]
        rows = np.memmap(path, ROW, "r")
        if not _ascending(rows):
            path = _sorted(rows, path.with_suffix(".sorted"))
            self._files[process].unlink()
            self._files[process] = path
            rows = np.memmap(path, ROW, "r")
        return rows

    def said(self, process: str, seq: int) -> Said:
        """Return what the ``cache`` event of this sequence number said."""
        return self._said[process, seq]

    def _refuse_others(self, batch: pa.RecordBatch) -> None:
        kinds = pc.unique(batch["kind"]).to_pylist()
        versions = pc.unique(batch["kind_version"]).to_pylist()
        if kinds != [cache.name] or versions != [cache.version]:
            raise TraceError(
                f"hook {self._hook!r} was recorded as {kinds} of version {versions}, this is "
                f"{cache.name!r} of version {cache.version}; capture again"
            )

    def _append(self, batch: pa.RecordBatch) -> None:
        rows = _rows(batch)
        coded = batch["process"].dictionary_encode()
        codes = coded.indices.to_numpy()
        for code, process in enumerate(coded.dictionary.to_pylist()):
            own = np.flatnonzero(codes == code)
            path = self._files.setdefault(process, self._folder / f"{len(self._files)}.rows")
            with path.open("ab") as file:
                rows[own].tofile(file)
            for at in own[rows["op"][own] == SAID].tolist():
                self._note(process, int(rows["seq"][at]), batch, at)

    def _note(self, process: str, seq: int, batch: pa.RecordBatch, at: int) -> None:
        numbers = dict(batch["numbers"][at].as_py() or ())
        texts = dict(batch["texts"][at].as_py() or ())
        self._said[process, seq] = Said(
            numbers.get("capacity", 0.0),
            numbers.get("sampled", 1.0),
            texts.get("policy", ""),
            numbers.get("ttl", 0.0),
            numbers.get("begins", 1.0) != 0.0,
        )


def chunks(n: int) -> Iterator[slice]:
    """Yield slices that cover n rows."""
    for low in range(0, n, CHUNK):
        yield slice(low, min(low + CHUNK, n))


def _rows(batch: pa.RecordBatch) -> Rows:
    rows = np.empty(batch.num_rows, ROW)
    rows["seq"] = _seq(batch["workload_id"])
    rows["time"] = batch["time"].to_numpy()
    access = pc.equal(batch["event"], "access").to_numpy(zero_copy_only=False)
    sound = access.copy()
    for name in ("key", "size", "op"):
        values, missing = _number(batch["numbers"], name)
        sound &= np.isfinite(values) if name != "size" else np.isfinite(values) | missing
        rows[name] = np.where(np.isfinite(values), values, 0.0)
    rows["op"][(rows["op"] < 0) | ~sound] = _NO_OP
    rows["op"][~access] = SAID
    return rows


def _seq(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the sequence numbers that end the ids, u8[n]."""
    words = np.frombuffer(ids.buffers()[1], ">u8")
    return words[2 * ids.offset + 1 : 2 * (ids.offset + len(ids)) : 2].astype(np.uint64)


def _number(numbers: pa.Array, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return a field of the accesses, NaN where it is missing, and where it is."""
    found = pc.map_lookup(numbers, pa.scalar(name), "first")
    values: npt.NDArray[np.float64] = found.to_numpy(zero_copy_only=False).astype(np.float64)
    return values, found.is_null().to_numpy(zero_copy_only=False)


def _ascending(rows: Rows) -> bool:
    before = -1
    for part in chunks(len(rows)):
        seq = rows["seq"][part]
        if int(seq[0]) <= before or (seq[1:] <= seq[:-1]).any():
            return False
        before = int(seq[-1])
    return True


def _sorted(rows: Rows, path: Path) -> Path:
    """Write rows by sequence number, each once, to a file."""
    order = np.argsort(rows["seq"], kind="stable")
    before = -1
    with path.open("wb") as file:
        for part in chunks(len(order)):
            taken = rows[order[part]]
            seq = taken["seq"].astype(np.int64)
            new = np.diff(seq, prepend=before) > 0
            taken[new].tofile(file)
            before = int(seq[-1])
    return path
