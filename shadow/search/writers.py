"""Writers: whoever turns a brief into a program, in their own time."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from .records import Assignment, Reply


class Writer(Protocol):
    """Shaped like ``concurrent.futures``."""

    def submit(self, assignment: Assignment) -> Future[Reply]:
        """Begin to write; the future never raises for an answer that is no program."""
        ...

    def close(self) -> None:
        """End what is being written, and free everything."""
        ...


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
