"""What a service remembers between its lives: per hook the highest epoch and the last good manifest."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

_log = logging.getLogger("gnomon.delivery")

_HEADING = b"gnomon-state 1 "
#: Bundle files that are kept; a manifest names at most two, older ones may be named again.
MAX_BUNDLES = 32


@dataclass(frozen=True, slots=True)
class Saved:
    """State of one hook as it survives a restart; nothing in it is trusted but the epoch.

    Attributes:
        epoch: highest epoch ever accepted; 0 before the first.
        manifest: serialised envelope of the manifest in force, or empty.
        plan: serialised envelope of the last plan that was verified, or empty.
    """

    epoch: int = 0
    manifest: bytes = b""
    plan: bytes = b""


class StateStore:
    """A folder with one state file per hook and one file per bundle.

    Files are replaced whole and synced, so a crash leaves the old state or the new. A damaged file
    counts as absent, with a warning in the log. Several processes may share the folder: the
    highest epoch wins.

    Args:
        folder: made when first written to; None keeps nothing.

    Attributes:
        problems: damaged or unwritable files met so far.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.problems = 0

    def load(self, hook: str) -> Saved:
        """Return what was saved for a hook, or an empty state."""
        path = self._path("hooks", f"{quote(hook, safe='')}.state")
        data = self._read(path)
        try:
            return Saved() if data is None else _decode(data)
        except ValueError as error:
            self._warn(f"state of hook {hook!r} in {path} is damaged ({error}); starting anew")
            return Saved()

    def save(self, hook: str, saved: Saved) -> None:
        """Write the state of a hook unless a higher epoch has been written meanwhile."""
        path = self._path("hooks", f"{quote(hook, safe='')}.state")
        if path is None:
            return
        try:
            with locked(path):
                if self.load(hook).epoch <= saved.epoch:
                    write_atomically(path, _encode(saved))
        except OSError as error:
            self._warn(f"cannot write {path}: {error.strerror}; state is kept in memory only")

    def forget(self, hook: str) -> None:
        """Remove the state of a hook, its epoch included: a revoked key may have made us see that epoch."""
        path = self._path("hooks", f"{quote(hook, safe='')}.state")
        if path is None or not path.exists():
            return
        try:
            with locked(path):
                path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"cannot remove {path}: {error.strerror}; its epoch still counts")

    def bundles(self) -> dict[str, bytes]:
        """Return the serialised envelopes that were kept, by the digest that they were kept under."""
        folder = self._path("bundles")
        if folder is None or not folder.is_dir():
            return {}
        found = {path.stem: self._read(path) for path in sorted(folder.glob("*.bundle"))}
        return {digest: data for digest, data in found.items() if data is not None}

    def keep(self, digest: str, envelope: bytes) -> None:
        """Write a bundle's envelope and drop the oldest beyond the limit."""
        path = self._path("bundles", f"{digest}.bundle")
        if path is None:
            return
        try:
            write_atomically(path, envelope)
            for stale in _oldest(path.parent, MAX_BUNDLES):
                stale.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"cannot write {path}: {error.strerror}; bundle is kept in memory only")

    def _path(self, *parts: str) -> Path | None:
        return self._folder.joinpath("delivery", *parts) if self._folder else None

    def _read(self, path: Path | None) -> bytes | None:
        """Return a file's bytes; None where there is none or it cannot be read."""
        try:
            return path.read_bytes() if path else None
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot read {path}: {error.strerror}")
            return None

    def _warn(self, message: str) -> None:
        self.problems += 1
        _log.warning("%s", message)


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a crash leaves the old content or the new, never a part.

    Args:
        path: of the file.
        data: all of it.
        mode: permissions of the new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a state file among processes; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _oldest(folder: Path, keep: int) -> list[Path]:
    found = sorted(folder.glob("*.bundle"), key=lambda path: path.stat().st_mtime_ns)
    return found[:-keep]


def _encode(saved: Saved) -> bytes:
    body = json.dumps(
        {
            "epoch": saved.epoch,
            "manifest": base64.b64encode(saved.manifest).decode(),
            "plan": base64.b64encode(saved.plan).decode(),
        }
    ).encode()
    return _HEADING + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _decode(data: bytes) -> Saved:
    """Return the state in a file's bytes; raises ValueError where they are not as written."""
    heading, _, body = data.partition(b"\n")
    if heading != _HEADING + hashlib.sha256(body).hexdigest().encode():
        raise ValueError("checksum does not match")
    try:
        fields: dict[str, Any] = json.loads(body)
        epoch = fields["epoch"]
        kept = [base64.b64decode(fields[name], validate=True) for name in ("manifest", "plan")]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it holds no state: {error}") from error
    if type(epoch) is not int or not 0 <= epoch < 2**64:
        raise ValueError("its epoch is none")
    return Saved(epoch, *kept)
