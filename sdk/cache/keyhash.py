"""A hash of keys that is the same in every process, made off the caller's thread."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

#: Hashes are whole floats, so that columns of floats hold them exactly.
BITS = 53
#: Keys that are remembered, because most accesses are of few keys.
_REMEMBERED = 1 << 16
#: Longer integers are hashed as bytes: decimals of them are slow, and forbidden from some length on.
_DECIMAL_BITS = 2_048


class KeyHash:
    """Keys to 53-bit hashes: equal keys, equal hashes, in this process and in any other.

    Text, bytes, numbers, None, classes and tuples of these are hashed by what they are. Of anything
    else the own hash is taken, which other processes may not share, and that is counted; of keys that
    raise or are nested too deep, the own hash or, where that raises too, the identity.

    Attributes:
        foreign: how often a key was of another type.
    """

    def __init__(self) -> None:
        self.foreign = 0
        self._known: dict[Any, float] = {}

    def of(self, key: Hashable) -> float:
        """Return the hash, a whole float from 0 to 2^53."""
        try:
            found = self._known.get(key)
            if found is None:
                found = _digest(self._bytes(key))
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = found
            return found
        except Exception:  # noqa: BLE001 - the service's own code: a key may raise what it likes
            self.foreign += 1
            return _digest(b"h%d" % _own(key))

    def _bytes(self, key: object) -> bytes:
        if isinstance(key, str):
            return b"s" + key.encode("utf-8", "surrogatepass")
        if isinstance(key, bytes):
            return b"b" + key
        if isinstance(key, int | float):
            return _number(key)
        if isinstance(key, tuple):
            parts = [self._bytes(part) for part in key]
            return b"t" + b"".join(b"%d:" % len(part) + part for part in parts)
        return self._other(key)

    def _other(self, key: object) -> bytes:
        if key is None:
            return b"0"
        if isinstance(key, type):
            return b"c" + f"{key.__module__}.{key.__qualname__}".encode()
        self.foreign += 1
        return b"h%d" % hash(key)


def _number(key: float) -> bytes:
    """Return the same for 1, 1.0 and True, which are one key."""
    if isinstance(key, float) and not key.is_integer():
        return b"f" + key.hex().encode()
    whole = int(key)
    if whole.bit_length() <= _DECIMAL_BITS:
        return b"i%d" % whole
    return b"I" + whole.to_bytes(whole.bit_length() // 8 + 1, "little", signed=True)


def _digest(text: bytes) -> float:
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> (64 - BITS))


def _own(key: object) -> int:
    try:
        return hash(key)
    except Exception:  # noqa: BLE001 - as above
        return id(key)
