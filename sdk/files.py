"""Reading files that nobody vouches for: no size, kind of file or JSON may hang, exhaust or surprise us."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any, NoReturn

#: Levels of lists and objects within each other; nothing that is written here has as many.
MOST_DEPTH = 64


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the bytes of a regular file, which a pipe, a device or a folder is not.

    Args:
        path: may be a link to one.
        most: bytes; a longer file is refused before it is read.

    Raises:
        OSError: it cannot be read, is no regular file (``EINVAL``) or is longer (``EFBIG``); ``strerror``
            says so.
    """
    # without O_NONBLOCK a pipe that nobody writes to would be waited for
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        data = file.read(most + 1) if found.st_size <= most else b""
        if found.st_size > most or len(data) > most:
            raise OSError(errno.EFBIG, f"longer than {most} bytes", str(path))
    return data


def strict_json(data: bytes) -> Any:
    """Return the JSON values in UTF-8 bytes, without anything that two readers could read differently.

    Raises:
        ValueError: it is no JSON, names a key twice, holds a number that is not finite, text that is no
            Unicode, or more than :data:`MOST_DEPTH` levels.
    """
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_not_finite
        )
    except RecursionError:
        found = None
        _too_deep()
    _check(found)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} stands there twice")
    return found


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _too_deep() -> NoReturn:
    raise ValueError(f"more than {MOST_DEPTH} levels")


def _check(value: Any) -> None:
    """Look at every value without recursion, so that no depth is too much for it."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > MOST_DEPTH:
            _too_deep()
        if isinstance(found, str):
            found.encode()  # half of a surrogate pair raises, as a ValueError
        elif isinstance(found, float) and found - found != 0.0:
            _not_finite(str(found))  # 1e999
        elif isinstance(found, dict):
            waiting += ((inner, depth + 1) for pair in found.items() for inner in pair)
        elif isinstance(found, list):
            waiting += ((inner, depth + 1) for inner in found)
