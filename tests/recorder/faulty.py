"""A filesystem whose process can be killed at any operation, or at which something else happens then."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import fs

#: How the object-store variant calls itself.
OBJECT = "py::object"


#: A moment in what a process does: its n-th operation of a name, or of any where the name is empty.
Spot = tuple[str, int]


def at(spot: Spot, what: Callable[[], None]) -> Callable[[str], None]:
    """Return what is to be called with the name of every operation: it acts at one of them."""
    name, left = spot

    def watch(operation: str) -> None:
        nonlocal left
        if name in ("", operation):
            left -= 1
            if left == 0:
                what()

    return watch


class Killed(BaseException):
    """The process is gone; nothing catches that."""


class Faulty(fs.FileSystemHandler):
    """Passes everything on to another filesystem, and may die before it does.

    Args:
        inner: the real one; what has happened there stays.
        name: of the type; ``object`` for one where a file appears when its upload ends.

    Attributes:
        at: called before every operation with its name; may raise :class:`Killed`.
        dead: whether it has; then every operation does.
    """

    def __init__(self, inner: fs.FileSystem, name: str) -> None:
        self.inner = inner
        self.name = name
        self.dead = False
        self.at: Callable[[str], None] | None = None

    def filesystem(self) -> fs.FileSystem:
        return fs.PyFileSystem(self)

    def watch(self, at: Callable[[str], None] | None) -> None:
        """Be told of every operation, and forget a death: another process begins."""
        self.at, self.dead = at, False

    def tick(self, name: str) -> None:
        if self.dead:
            raise Killed
        if self.at is not None:
            try:
                self.at(name)
            except Killed:
                self.dead = True
                raise

    def get_type_name(self) -> str:
        return self.name

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        self.tick("info")
        found: list[fs.FileInfo] = self.inner.get_file_info(paths)
        return found

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        self.tick("list")
        found: list[fs.FileInfo] = self.inner.get_file_info(selector)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        self.tick("create_dir")
        self.inner.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self.tick("delete_dir")
        self.inner.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self.tick("delete_file")
        self.inner.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self.tick("move")
        self.inner.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def open_input_stream(self, path: str) -> Any:
        self.tick("open")
        return self.inner.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        self.tick("open")
        return self.inner.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.tick("create")
        return pa.PythonFile(_Output(self, path), "w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


class _Output(io.RawIOBase):
    """What is written so far is there after a death, except in an object store."""

    def __init__(self, owner: Faulty, path: str) -> None:
        super().__init__()
        self._owner = owner
        self._path = path
        self._data = bytearray()
        if owner.name != "object":
            self._put()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._owner.tick("write")
        self._data += memoryview(data).cast("B")
        if self._owner.name != "object":
            self._put()
        return len(data)

    def close(self) -> None:
        if not self.closed and not self._owner.dead:
            self._owner.tick("close")
            self._put()
        super().close()

    def _put(self) -> None:
        with self._owner.inner.open_output_stream(self._path) as stream:
            stream.write(bytes(self._data))
