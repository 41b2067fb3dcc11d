"""Files of a trace store on any ``pyarrow.fs`` filesystem: found by name, published whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

from ..sdk.errors import TraceError

_SUFFIX = ".parquet"
#: Filesystems on which an object appears only when its upload is complete.
_OBJECT_STORES = ("s3", "gcs", "abfs")


class Files:
    """The files below one root.

    Args:
        root: a local folder, or a URI that ``pyarrow.fs`` knows (``s3://bucket/prefix``).
        filesystem: where ``root`` lies, for a root that is no URI; default the local one.
    """

    def __init__(self, root: str | Path, filesystem: fs.FileSystem | None = None) -> None:
        if filesystem is not None:
            self._fs, self.root = filesystem, str(root)
        elif "://" in str(root):
            self._fs, self.root = _from_uri(str(root))
        else:
            self._fs, self.root = fs.LocalFileSystem(), str(Path(root).absolute())

    @property
    def local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self._fs, fs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """Return the full path of something below the root."""
        return str(PurePosixPath(self.root, *parts))

    def require_writable(self) -> None:
        """Make a local root and see that files can be made there; another filesystem is not asked.

        Raises:
            TraceError: they cannot.
        """
        if not self.local:
            return
        hidden = Path(self.root, f".{uuid.uuid4().hex}.tmp")
        try:
            hidden.parent.mkdir(parents=True, exist_ok=True)
            hidden.touch()
            hidden.unlink()
        except OSError as error:
            raise TraceError(
                f"cannot write trace store {self.root}: {error.strerror}; "
                "name a folder that this process may write"
            ) from error

    def is_folder(self, *parts: str) -> bool:
        """Return whether this folder exists."""
        return bool(self._fs.get_file_info(self.path(*parts)).type == fs.FileType.Directory)

    def folders(self, *parts: str) -> list[str]:
        """Return the base names of the folders directly below a folder; none when it is missing."""
        return sorted(
            info.base_name
            for info in self._list(self.path(*parts), recursive=False)
            if info.type == fs.FileType.Directory
        )

    def parquet(self, *parts: str) -> list[tuple[str, int]]:
        """Return (full path, size in bytes) of every published file below a folder, in order."""
        return sorted(
            (info.path, int(info.size))
            for info in self._list(self.path(*parts), recursive=True)
            if info.type == fs.FileType.File and _published(info.base_name)
        )

    def open(self, path: str) -> Any:
        """Open a file for reading at random."""
        return self._fs.open_input_file(path)

    def publish(self, folder: str, name: str, data: Any) -> str:
        """Make ``data`` visible as ``folder/name.parquet`` in one step, durably; return its path.

        Raises:
            TraceError: the filesystem refused, for example because it is full.
        """
        path = self.path(folder, name + _SUFFIX)
        try:
            self._fs.create_dir(self.path(folder), recursive=True)
            if self._fs.type_name in _OBJECT_STORES:
                self._put(path, data)
            else:
                self._put_by_rename(path, data)
        except OSError as error:
            raise TraceError(f"cannot write {path}: {error}; nothing was published") from error
        return path

    def _put(self, path: str, data: Any) -> None:
        with self._fs.open_output_stream(path) as stream:
            stream.write(data)

    def _put_by_rename(self, path: str, data: Any) -> None:
        target = PurePosixPath(path)
        hidden = str(target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp"))
        try:
            self._put(hidden, data)
            if self.local:
                sync(hidden)
            self._fs.move(hidden, path)
        except OSError:
            self._discard(hidden)
            raise
        if self.local:
            sync(str(target.parent))

    def remove(self, path: str) -> None:
        """Remove a file, and the folders above it, up to the root, that are empty then."""
        self._discard(path)
        above = PurePosixPath(path).parent
        while len(above.parts) > len(PurePosixPath(self.root).parts) and not self._list(
            str(above), recursive=False
        ):
            self._fs.delete_dir(str(above))
            above = above.parent

    def _discard(self, path: str) -> None:
        if self._fs.get_file_info(path).type == fs.FileType.File:
            self._fs.delete_file(path)

    def _list(self, path: str, recursive: bool) -> list[Any]:
        selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
        return list(self._fs.get_file_info(selector))


def sync(path: str) -> None:
    """Wait until a local file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _published(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith((".", "_"))


def _from_uri(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise TraceError(
            f"cannot open {uri}: {error}; give a folder or a URI such as s3://bucket/prefix"
        ) from error
    return filesystem, path
