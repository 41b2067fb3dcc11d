"""Files of a trace store on any ``pyarrow.fs`` filesystem: found by name, published whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from ..sdk.errors import TraceError

_SUFFIX = ".parquet"
#: Filesystems on which an object appears only when its upload is complete.
_OBJECT_STORES = ("s3", "gcs", "abfs")
#: Folder below the root into which folders are moved in one step before they are removed.
_REMOVED = ".removed"
#: How often something is tried while other processes remove folders that are empty.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a store.

    Attributes:
        path: full.
        size: bytes.
        changed_ns: Unix time of its last change; 0 where the filesystem does not tell.
    """

    path: str
    size: int
    changed_ns: int

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]


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
        return [(each.path, each.size) for each in self.found(*parts)]

    def found(self, *parts: str) -> list[Found]:
        """Return every published file below a folder, in order of its path."""
        return [each for each in self._found(*parts) if _published(each.name)]

    def hidden(self, *parts: str) -> list[Found]:
        """Return the files below a folder that a writer has not finished, or has left behind."""
        return [each for each in self._found(*parts) if _unfinished(each.name)]

    def exists(self, path: str) -> bool:
        """Return whether there is a file at a full path."""
        return bool(self._fs.get_file_info(path).type == fs.FileType.File)

    def size(self, path: str) -> int:
        """Return a file's bytes; 0 where there is none."""
        return int(self._fs.get_file_info(path).size or 0)

    def _found(self, *parts: str) -> list[Found]:
        listed = self._list(self.path(*parts), recursive=True)
        files = [info for info in listed if info.type == fs.FileType.File]
        files.sort(key=lambda info: str(info.path))
        return [Found(each.path, int(each.size), each.mtime_ns or 0) for each in files]

    def open(self, path: str) -> Any:
        """Open a file for reading at random."""
        return self._fs.open_input_file(path)

    def publish(self, folder: str, name: str, data: Any) -> str:
        """Make ``data`` visible as ``folder/name.parquet`` in one step, durably; return its path.

        Raises:
            TraceError: the filesystem refused, for example because it is full.
        """
        for attempt in range(_TRIES):
            try:
                return self._publish(folder, name, data)
            except TraceError as error:
                # An empty folder may be removed between its making and its use.
                if not isinstance(error.__cause__, FileNotFoundError) or attempt + 1 == _TRIES:
                    raise
        raise AssertionError("unreachable")

    def _publish(self, folder: str, name: str, data: Any) -> str:
        publication = self.publication(folder, name)
        try:
            publication.write(data)
            return publication.commit()
        except BaseException:
            publication.abandon()
            raise

    def publication(self, folder: str, name: str) -> Publication:
        """Begin a file ``folder/name.parquet`` that is written piece by piece and visible when it is whole.

        Raises:
            TraceError: the filesystem refused.
        """
        path = self.path(folder, name + _SUFFIX)
        with _told(path):
            self._make(self.path(folder))
            if self._fs.type_name in _OBJECT_STORES:
                return _Upload(self._fs, path)
            return _Rename(self._fs, path, self.local)

    def _make(self, folder: str) -> None:
        """Make a folder; a local one durably: a synced file in a folder that is lost is lost too."""
        new: list[Path] = []
        if self.local:
            new = [each for each in (Path(folder), *Path(folder).parents) if not each.exists()]
        self._fs.create_dir(folder, recursive=True)
        for each in new:
            sync(str(each.parent))

    def remove(self, path: str) -> None:
        """Remove a file, and the folders above it, up to the root, that are empty then."""
        self.delete(path)
        self._tidy(PurePosixPath(path).parent)

    def delete(self, path: str, size: int | None = None) -> bool:
        """Remove a file if it is there, and has this size where one is given; return whether it was.

        Raises:
            OSError: the filesystem refused.
        """
        info = self._fs.get_file_info(path)
        if info.type != fs.FileType.File or size not in (None, info.size):
            return False
        try:
            self._fs.delete_file(path)
        except FileNotFoundError:  # another process was faster
            return False
        return True

    def delete_folder(self, *parts: str) -> None:
        """Remove a folder with all that it holds: locally in one step, elsewhere file by file.

        Raises:
            OSError: the filesystem refused.
        """
        if not self.local:
            for each in self._found(*parts):
                self.delete(each.path)
            return
        aside = self.path(_REMOVED, uuid.uuid4().hex)
        Path(aside).parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            Path(self.path(*parts)).rename(aside)
        self._tidy(PurePosixPath(self.path(*parts)).parent)
        self.finish_removals()

    def finish_removals(self) -> None:
        """Remove what an earlier process had taken out of the store and did not live to remove."""
        for name in self.folders(_REMOVED):
            with contextlib.suppress(FileNotFoundError):
                self._fs.delete_dir(self.path(_REMOVED, name))
        if self.local:
            with contextlib.suppress(OSError):  # there is none, or another process is at it
                os.rmdir(self.path(_REMOVED))

    def _tidy(self, folder: PurePosixPath) -> None:
        """Remove a local folder and those above it while they are empty, never one that is in use."""
        while self.local and len(folder.parts) > len(PurePosixPath(self.root).parts):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = folder.parent

    def _list(self, path: str, recursive: bool) -> list[Any]:
        selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # a folder within was removed meanwhile
                return list(self._fs.get_file_info(selector))
        return list(self._fs.get_file_info(selector))


class Publication:
    """A file that is being written and becomes visible, whole and durable, by :meth:`commit`.

    Attributes:
        path: where it will be.
        stream: takes its bytes.
    """

    path: str
    stream: Any

    def write(self, data: Any) -> None:
        """Write bytes; raises TraceError when the filesystem refuses."""
        with _told(self.path):
            self.stream.write(data)

    def commit(self) -> str:
        """Make the file visible and return its path; raises TraceError when the filesystem refuses."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Leave nothing behind, as far as the filesystem lets us."""
        raise NotImplementedError


class _Rename(Publication):
    """Written beside its place under a hidden name, synced where that can be asked for, renamed."""

    def __init__(self, filesystem: fs.FileSystem, path: str, local: bool) -> None:
        target = PurePosixPath(path)
        self.path = path
        self._fs = filesystem
        self._local = local
        self._hidden = str(target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp"))
        self.stream = filesystem.open_output_stream(self._hidden)

    def commit(self) -> str:
        with _told(self.path):
            self.stream.close()
            if self._local:
                sync(self._hidden)
            self._fs.move(self._hidden, self.path)
            if self._local:
                sync(str(PurePosixPath(self.path).parent))
        return self.path

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            if self._fs.get_file_info(self._hidden).type == fs.FileType.File:
                self._fs.delete_file(self._hidden)


class _Upload(Publication):
    """Gathered in a local file and uploaded in one go.

    An object store shows what was uploaded when its stream is closed, by an error too, so nothing may
    go wrong between the first byte and the last that is not the upload itself.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str) -> None:
        self.path = path
        self._fs = filesystem
        # Closed, and with that removed, by commit or abandon.
        self._local = tempfile.NamedTemporaryFile(suffix=".parquet")  # noqa: SIM115
        self.stream = pa.OSFile(self._local.name, "wb")

    def commit(self) -> str:
        with _told(self.path):
            self.stream.close()
            with pa.memory_map(self._local.name) as source:
                data = source.read_buffer()
            with self._fs.open_output_stream(self.path) as stream:
                stream.write(data)
        self._local.close()
        return self.path

    def abandon(self) -> None:
        self.stream.close()
        with contextlib.suppress(OSError):
            self._local.close()


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what a filesystem refuses into one line."""
    try:
        yield
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error}; nothing was published") from error


def sync(path: str) -> None:
    """Wait until a local file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unfinished(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


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
