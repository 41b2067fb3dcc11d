"""What a line of ``gnomon traces import`` asks for, whatever the format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from ..recorder.store import TraceStore


@dataclass(frozen=True, slots=True)
class Wanted:
    """An import as the command line says it.

    Attributes:
        format: name of the format.
        files: to be read, in order.
        hook: name that the trace is to have.
        store: trace store: a folder or a URI.
        limit: the most accesses or requests to read; None for all.
        settings: ``NAME=VALUE`` each, of whatever the workload is to be replayed for.
        capacity, ignore_size, columns: of a cache: capacity, whether sizes count, and the names of the
            columns of key, time and size in a CSV file.
        as_json: whether the answer is JSON.
    """

    format: str
    files: tuple[Path, ...]
    hook: str
    store: str
    limit: int | None
    settings: tuple[str, ...]
    capacity: str | None
    ignore_size: bool
    columns: tuple[str, str | None, str | None]
    as_json: bool

    @property
    def file(self) -> Path:
        """The one file; raises ConfigurationError where there are several."""
        if len(self.files) != 1:
            raise ConfigurationError(
                f"{self.format} is read from one file, not {len(self.files)}; name one"
            )
        return self.files[0]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the settings' names and values; raises ConfigurationError for what is none."""
        for setting in self.settings:
            name, equals, value = setting.partition("=")
            if not (name and equals and value):
                raise ConfigurationError(f"--set {setting} is no setting; write NAME=VALUE")
            yield name, value

    def only_for_caches(self) -> None:
        """Refuse options that say something of a cache.

        Raises:
            ConfigurationError: one was given.
        """
        given = {"--capacity": self.capacity is not None, "--ignore-size": self.ignore_size}
        for option, present in given.items():
            if present:
                raise ConfigurationError(
                    f"{option} is of a cache, and {self.format} is no trace of one; leave it out"
                )

    def opened(self) -> TraceStore:
        """Return the store."""
        from ..recorder.store import TraceStore

        return TraceStore(self.store)


def progress(line: str) -> None:
    """Say on standard error how far it is."""
    print(line, file=sys.stderr)
