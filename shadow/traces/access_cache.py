"""Columns of cache traces on disk, made once for a state of a trace store and mapped from then on.

They lie beside a local store, under ``.columns/HOOK/STATE``: STATE is a digest of the names, sizes and
times of the store's files. A folder appears whole, by a rename, so that any number of processes may make
and map the same one at once; whoever makes a new one removes those of older states. Where there can be
none (another filesystem, a store that may not be written or that changes meanwhile) the files are made
in a temporary folder and unlinked as soon as they are mapped.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...policies.cache import cache
from ...recorder.layout import COLUMNS_FOLDER, hook_folder
from ...recorder.schema import WORKLOAD
from ...recorder.store import TraceStore
from ...sdk.errors import TraceError
from .access_columns import COLUMNS, Head, write_columns
from .access_spool import Said
from .access_trace import AccessTrace
from .expiry import refuse_expiry

#: Of what is written; another one is made anew.
_FORMAT = 1
_HEAD = "head.json"
_TMP = ".tmp"
#: What a process that was killed left behind is removed after this long.
_LEFT_BEHIND_S = 86_400.0


def trace(stored: TraceStore, hook: str) -> AccessTrace:
    """Return a hook's trace; see :func:`~gnomon.shadow.traces.access_trace.access_trace`."""
    stored.require(hook)
    place = Path(stored.files.path(COLUMNS_FOLDER, hook_folder(hook)))
    state = _state(stored, hook)
    if stored.files.local and (place / state).is_dir():
        if (found := _published(place / state, hook)) is not None:
            return found
        shutil.rmtree(place / state, ignore_errors=True)  # damaged: it was whole when it appeared
    folder = _working_folder(place if stored.files.local else None)
    try:
        made = _made(folder, write_columns(stored, hook, folder), hook)
        if folder.parent == place and _state(stored, hook) == state:
            _publish(folder, place / state)
    except OSError as error:
        raise TraceError(
            f"cannot write the columns of hook {hook!r} in {folder} ({error.strerror}); make room there, "
            "90 bytes an access"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what is mapped stays readable
    return made


def _state(stored: TraceStore, hook: str) -> str:
    return f"{stored.state(WORKLOAD, hook)}-{_FORMAT}"


def _working_folder(place: Path | None) -> Path:
    """Make a folder to work in, where it can be published if that may be written."""
    if place is not None:
        folder = place / f".{uuid.uuid4().hex}{_TMP}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True)
            return folder
    return Path(tempfile.mkdtemp(prefix="gnomon-columns-"))


def _made(folder: Path, head: Head, hook: str) -> AccessTrace:
    """Return the trace of columns that were just written, and note its head beside them.

    Raises:
        TraceError: its ttl decides more than a replay may get wrong.
    """
    values = head._asdict() | {"settings": [each._asdict() for each in head.settings]}
    (folder / _HEAD).write_text(json.dumps(values), "utf-8")
    made = _mapped(folder, head, hook)
    if made.policy:
        refuse_expiry(made, np.array([each.ttl for each in head.settings]))
    for each in folder.iterdir():
        if each.name != _HEAD and each.suffix != ".npy":
            each.unlink()
    return made


def _publish(folder: Path, target: Path) -> None:
    """Make a folder visible, and remove those of older states and of processes that were killed."""
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(target)
    for each in target.parent.iterdir():
        old = each.suffix != _TMP or time.time() - _changed(each) > _LEFT_BEHIND_S
        if each.name != target.name and old:
            shutil.rmtree(each, ignore_errors=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _published(folder: Path, hook: str) -> AccessTrace | None:
    """Return the trace of a folder; None where it is damaged, or not there any more."""
    try:
        values: dict[str, Any] = json.loads((folder / _HEAD).read_text("utf-8"))
        settings = tuple(Said(**each) for each in values["settings"])
        head = Head(int(values["start_ns"]), tuple(values["instances"]), settings)
        return _mapped(folder, head, hook)
    except (OSError, ValueError, KeyError, TypeError, TraceError):
        return None


def _mapped(folder: Path, head: Head, hook: str) -> AccessTrace:
    columns: dict[str, npt.NDArray[Any]] = {name: _column(folder, name) for name in COLUMNS}
    return AccessTrace(
        hook=hook,
        kind=cache.name,
        start_ns=head.start_ns,
        instances=head.instances,
        policy=head.settings[0].policy,
        first=0,
        **columns,
        capacity=np.array([each.capacity for each in head.settings]),
        sampled=np.array([each.sampled for each in head.settings]),
    )


def _column(folder: Path, name: str) -> npt.NDArray[Any]:
    """Map a column; private, so that compiled code sees an array as any other."""
    path = folder / f"{name}.npy"
    column = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    if column.dtype != np.dtype(COLUMNS[name]) or column.ndim != 1:
        raise ValueError(f"{path} is no column")
    return column
