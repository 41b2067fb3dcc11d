"""Writers: whoever turns a brief into a program, in their own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ..records import Assignment, Draft, Record, Reply
from ..strategies import Makers


class Writer(Protocol):
    """Shaped like ``concurrent.futures``."""

    def submit(self, assignment: Assignment) -> Future[Reply]:
        """Begin to write; the future never raises for an answer that is no program."""
        ...

    def close(self) -> None:
        """End what is being written, and free everything."""
        ...


class Inbox(Protocol):
    """What agents and people tell a search while it runs."""

    def new(self) -> Iterable[Draft | str]:
        """Return programs and hints that came since, each once."""
        ...

    def kept(self, record: Record) -> None:
        """Hear that the log holds a record; called for every one."""
        ...


@dataclass(frozen=True)
class Authors:
    """Who proposes, besides the keyless proposers.

    Attributes:
        makers: fresh proposers with their weights, the keyless ones included; None for those alone.
        writer: whom the proposers' briefs go to; whoever made it closes it.
        inbox: what agents and people tell while the search runs.
        settings: what the drafts depend on (models, weights, prompts), as JSON values, for the log's header.
    """

    makers: Makers | None = None
    writer: Writer | None = None
    inbox: Inbox | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Desk:
    """What is being written.

    Args:
        writer: None where nobody writes.
        most: assignments that may be under way.

    Attributes:
        flying: by future.
    """

    def __init__(self, writer: Writer | None, most: int) -> None:
        self._writer = writer
        self._most = most
        self.flying: dict[Future[Reply], Assignment] = {}

    @property
    def full(self) -> bool:
        """Whether no more may be begun."""
        return len(self.flying) >= self._most

    def submit(self, assignment: Assignment) -> None:
        """Begin to write; raises RuntimeError where nobody does."""
        if self._writer is None:
            raise RuntimeError(f"a brief for {assignment.brief.author!r}, and nobody writes")
        self.flying[self._writer.submit(assignment)] = assignment

    def finished(self) -> list[tuple[Assignment, Reply]]:
        """Return what has been written, oldest first."""
        ended = [future for future in self.flying if future.done()]
        return [(self.flying.pop(future), _reply(future)) for future in ended]


def _reply(future: Future[Reply]) -> Reply:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - a writer's own failure must not end the search
        return Reply(error=f"{type(error).__name__}: {error}"[:200])
