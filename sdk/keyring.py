"""Pinned keys as files that may change while a process runs: new ones, and revoked ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import keys
from .errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_log = logging.getLogger("gnomon.keys")


@dataclass(frozen=True, slots=True)
class Pins:
    """What key files say at one moment.

    Attributes:
        publishers: keys that may sign bundles and plans; none of them is revoked.
        revoked: keyids of keys that may sign nothing any more, whichever role they had.
        names: of the publishers' files, by keyid.
    """

    publishers: tuple[Ed25519PublicKey, ...]
    revoked: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)


class KeyRing:
    """Reads pinned keys, and reads them again when their files have changed.

    A path is a publisher's ``.pub`` file, or a folder: then every ``.pub`` of a publisher in it counts. A key file
    whose suffix is ``.revoked``, in such a folder or beside such a file, revokes its key, a rollout key too.

    Args:
        paths: of files and folders.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._stamp()

    def read(self) -> Pins:
        """Return what the files say now.

        Raises:
            ConfigurationError: one of them cannot be read or holds no such key, or nothing is pinned or revoked.
        """
        found = [path for path in self._files() if path.suffix == keys.REVOKED_SUFFIX]
        revoked = frozenset(keys.keyid(keys.load_public(path)) for path in found)
        names, publishers = {}, []
        for path in self._publishers():
            key = keys.load_public(path, "publisher")
            if keys.keyid(key) not in revoked:
                names[keys.keyid(key)] = path.name
                publishers.append(key)
        if not publishers and not revoked:
            raise ConfigurationError(
                f"no publisher key in {', '.join(map(str, self._paths))}; put its .pub file there"
            )
        return Pins(tuple(publishers), revoked, names)

    def changed(self) -> Pins | None:
        """Return what the files say now if they are not as last read; None while they are, or cannot be read."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            return self.read()
        except ConfigurationError as error:
            _log.error("the pinned keys stay as they were: %s", error)
            return None

    def _publishers(self) -> list[Path]:
        """Return the files that must hold a publisher's key: of folders those that say no other role."""
        found = []
        for path in self._paths:
            if path.is_dir():
                listed = [known for known in keys.listing(path) if known.role != "rollout"]
                found += [known.path for known in listed]
            elif not path.with_suffix(keys.REVOKED_SUFFIX).exists():
                found.append(path)
        return found

    def _files(self) -> list[Path]:
        """Return all files that matter."""
        found: list[Path] = []
        for path in self._paths:
            if path.is_dir():
                suffixes = (keys.PUBLIC_SUFFIX, keys.REVOKED_SUFFIX)
                found += sorted(p for p in path.iterdir() if p.suffix in suffixes)
            else:
                beside = path.with_suffix(keys.REVOKED_SUFFIX)
                found += [path, *([beside] if beside.exists() else [])]
        return found

    def _stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return what differs when a file was written, replaced, added or removed."""
        try:
            return tuple(map(_stamp, self._files()))
        except OSError:
            return ()


def _stamp(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
