"""Saved traces: a head and columns, in one ``.npz`` file or in a folder that is mapped into memory.

A folder holds ``head.json`` and one ``.npy`` file per column. Its columns are mapped copy on write: every
process that opens it shares the same pages, which the machine may drop and read again (the digest is checked
a piece at a time), and nothing that a process does to them reaches the files. Whoever may write the files can
change what others have mapped already, so a trace is kept as safe as a trace store is. A member of an
``.npz`` cannot be mapped so, as it begins at any byte, which compiled code would take for another type.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...recorder.archives import UNREADABLE
from ...sdk.errors import TraceError

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

#: What a saved trace may be called, for those who must tell it from a trace store.
SUFFIXES = (".npz", ".trace")
_HEAD = "head.json"
_CHUNK = 1 << 22  # bytes that are digested at once
_MOST_HEAD = 1 << 26  # bytes


def is_saved(path: str | Path) -> bool:
    """Return whether this names a saved trace rather than a trace store."""
    return str(path).endswith(SUFFIXES)


def digest_of(head: str, columns: Iterable[npt.NDArray[Any]]) -> str:
    """Return sha256 hex over a head and columns, a piece at a time: what is mapped is never copied."""
    digest = hashlib.sha256(head.encode())
    for column in columns:
        data = np.ascontiguousarray(column).data.cast("B") if column.size else b""
        for at in range(0, len(data), _CHUNK):
            digest.update(data[at : at + _CHUNK])
    return digest.hexdigest()


def write(path: Path, head: str, digest: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a saved trace, without pickle: one file if the name ends in ``.npz``, else a folder.

    Raises:
        TraceError: there is a folder of this name already.
    """
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, head=head, digest=digest, **columns)
        return
    if path.exists():
        raise TraceError(f"{path} exists already; name another folder for the trace")
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, column in columns.items():
        np.save(partial / f"{name}.npy", np.ascontiguousarray(column), allow_pickle=False)
    (partial / _HEAD).write_text(json.dumps({"head": head, "digest": digest}), "utf-8")
    partial.rename(path)


def read(path: Path) -> tuple[str, str, Arrays]:
    """Return the head, the digest and the columns of a saved trace; raises TraceError for anything else."""
    try:
        head, digest, columns = _folder(path) if path.is_dir() else _file(path)
        for name, column in columns.items():
            _require_plain(name, column)
        return head, digest, columns
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise TraceError(f"{path} is not a saved trace ({reason}); capture again") from error


def _require_plain(name: str, column: npt.NDArray[Any]) -> None:
    """Refuse what compiled code would take for another type; raises ValueError."""
    if column.dtype.kind not in "biuf" or not column.dtype.isnative:
        raise ValueError(f"column {name!r} is of type {column.dtype}")
    if not column.flags.c_contiguous:
        raise ValueError(f"column {name!r} is laid out in another order")


def _file(path: Path) -> tuple[str, str, Arrays]:
    stored = arrays_in(path)
    return str(stored.pop("head")), str(stored.pop("digest")), stored


def _folder(path: Path) -> tuple[str, str, Arrays]:
    said = path / _HEAD
    if not said.is_file() or said.stat().st_size > _MOST_HEAD:
        raise ValueError(f"no {_HEAD}")
    about = json.loads(said.read_text("utf-8"))
    columns = {file.stem: _mapped(file) for file in sorted(path.glob("*.npy"))}
    return str(about["head"]), str(about["digest"]), columns


def _mapped(file: Path) -> npt.NDArray[Any]:
    if file.is_symlink():
        raise ValueError(f"{file.name} is a link")
    column = np.load(file, mmap_mode="c", allow_pickle=False)
    return np.asarray(column)  # compiled code knows no memmap, and needs no more than its memory


def arrays_in(path: Path) -> Arrays:
    """Read all arrays of a ``.npz`` file, without pickle; raises ValueError when it is none."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz file" if path.exists() else "no such file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except UNREADABLE as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
