"""The folder of a comparison: finished cells, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...sdk.errors import ConfigurationError
from .bench import Result

_CELLS = "cells"
TABLE = "table.json"
REPORT = "report.html"


class RunFolder:
    """Finished cells by their keys, each in a file that is whole or not there.

    Args:
        path: the folder; made when it is missing.
        resume: whether cells that it holds are used.

    Raises:
        ConfigurationError: it holds cells and ``resume`` is false, or it is no folder.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self._cells = path / _CELLS
        if path.exists() and not path.is_dir():
            raise ConfigurationError(f"{path} is a file; name a folder for the run")
        if self._cells.is_dir() and any(self._cells.iterdir()) and not resume:
            raise ConfigurationError(
                f"{path} holds a run already; go on with --resume, or name another folder"
            )
        self._cells.mkdir(parents=True, exist_ok=True)

    def kept(self, key: str) -> Result | None:
        """Return a finished cell, or None; one that cannot be read is measured again."""
        try:
            return Result.of_json(json.loads(self._file(key).read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, key: str, result: Result) -> None:
        """Keep a finished cell."""
        write_whole(self._file(key), json.dumps(result.as_json()))

    def _file(self, key: str) -> Path:
        return self._cells / f"{key}.json"


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either the old one or the whole new one."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
