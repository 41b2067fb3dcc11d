"""Answers on disk, by all that they depend on: model, settings, prompt and seed.

A folder may be shared by runs. What it holds is not trusted: an entry that is not exactly what was
written is no entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from ...sdk.errors import ConfigurationError
from ..search.authors.edits import MOST_ANSWER
from .chat import Answer, Request

#: Bytes of one entry, as read; every character of an answer may take six.
_MOST_ENTRY = 6 * MOST_ANSWER + 10_000
_FORMAT = 2
#: Names of our files: answers, and what a killed run left half-written.
_OURS = re.compile(r"[0-9a-f]{64}\.json|\.gnomon-[a-z0-9_]+\.tmp")
_SHELF = re.compile(r"[0-9a-f]{2}")


def key_of(request: Request) -> str:
    """Return the digest of all that an answer depends on; keys and their variables are no part of it."""
    data = {name: value for name, value in request.as_json().items() if name != "key_env"}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


class Cache:
    """A bounded folder of answers.

    Args:
        folder: made when it is missing.
        most: bytes kept; the oldest entries go first.

    Raises:
        ConfigurationError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, most: int = 256_000_000) -> None:
        self._folder = folder
        self._most = most
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(size for _, size, _ in self._entries())
        except OSError as error:
            raise ConfigurationError(
                f"the folder of answers {folder} cannot be used ({error.strerror}); name another one "
                "with --model-cache"
            ) from error

    def get(self, request: Request) -> Answer | None:
        """Return the answer to a request; None when there is none, or none that can be believed."""
        key = key_of(request)
        try:
            data = json.loads(_read(self._path(key)))
        except (OSError, ValueError, RecursionError):
            return None
        return _answer(data, key)

    def put(self, request: Request, answer: Answer) -> None:
        """Keep an answer; a folder that is full or gone costs nothing but the entry."""
        key = key_of(request)
        data = {
            "format": _FORMAT,
            "key": key,
            "text": answer.text,
            "tokens": [answer.tokens_in, answer.tokens_out],
            "finish": answer.finish,
        }
        data["digest"] = _digest(data)
        text = json.dumps(data).encode()
        with contextlib.suppress(OSError):
            self._write(self._path(key), text)
            self._size += len(text)
            if self._size > self._most:
                self._shrink()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    def _write(self, path: Path, text: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        if path.parent.is_symlink():
            raise OSError("no folder of ours")
        descriptor, temporary = tempfile.mkstemp(".tmp", ".gnomon-", path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Return (time, bytes, path) of our own files: the folder may hold others, and lead to others."""
        found = []
        shelves = (path for path in self._folder.iterdir() if _SHELF.fullmatch(path.name))
        for shelf in shelves:
            with contextlib.suppress(OSError):  # another run may have taken it away
                if shelf.is_symlink():
                    continue
                for path in shelf.iterdir():
                    about = path.lstat()
                    if _OURS.fullmatch(path.name) and stat.S_ISREG(about.st_mode):
                        found.append((about.st_mtime, about.st_size, path))
        return sorted(found)

    def _shrink(self) -> None:
        entries = self._entries()
        size = sum(bytes_ for _, bytes_, _ in entries)
        for _, bytes_, path in entries:
            if size <= 0.8 * self._most:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            size -= bytes_
        self._size = size


def _read(path: Path) -> bytes:
    """Return an entry's bytes; raises OSError for what is no plain file of our size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_ENTRY:
            raise OSError("no entry")
        return file.read(_MOST_ENTRY)


def _digest(data: dict[str, Any]) -> str:
    """Return what tells an entry that was edited; whoever wants to deceive can make one, too."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _answer(data: Any, key: str) -> Answer | None:
    if not isinstance(data, dict) or data.get("format") != _FORMAT or data.get("key") != key:
        return None
    if data.pop("digest", None) != _digest(data):
        return None
    text, tokens, finish = data.get("text"), data.get("tokens"), data.get("finish")
    if not isinstance(text, str) or not 0 < len(text) <= MOST_ANSWER or not isinstance(finish, str):
        return None
    if not isinstance(tokens, list) or len(tokens) != 2:
        return None
    if any(type(n) not in (int, type(None)) for n in tokens):
        return None
    return Answer(text, tokens[0], tokens[1], finish[:40])
