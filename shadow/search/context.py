"""What a strategy and its proposers may look at when they make a draft."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import overload

from ..evaluation import Trial
from .archive import Archive
from .records import Record
from .space import SearchSpace


class Known(Sequence[Record]):
    """The first so many records of a list that grows, without a copy."""

    __slots__ = ("_count", "_records")

    def __init__(self, records: Sequence[Record] = (), count: int | None = None) -> None:
        self._records = records
        self._count = len(records) if count is None else count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Return a record, or some of them."""
        found = range(self._count)[index]
        if isinstance(found, range):
            return [self._records[at] for at in found]
        return self._records[found]

    def __iter__(self) -> Iterator[Record]:
        for index in range(self._count):
            yield self._records[index]


@dataclass(frozen=True, slots=True)
class Context:
    """What a draft may depend on; all of it is a function of the step and of earlier results.

    Attributes:
        space: the programs that are considered.
        archive: built from the results that this step may know of.
        step: that the draft will have in the log.
        settled: whether no result of an earlier step is still to come.
        records: those results, by step.
        by_program: by program id, the last of them that was evaluated where one was.
        money: dollars that calls of models may still cost, those under way taken off.
        hints: words for writers, oldest first.
        evaluations_left: how many there are if all that is under way costs one.
    """

    space: SearchSpace
    archive: Archive
    step: int
    settled: bool
    records: Sequence[Record] = ()
    by_program: Mapping[str, Record] = field(default_factory=lambda: MappingProxyType({}))
    money: float = math.inf
    hints: tuple[str, ...] = ()
    evaluations_left: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What a strategy selected for the next draft.

    Attributes:
        parent: to be changed; None while there is none.
        others: to be looked at beside it; the first is a second parent.
        pool: among which a tuner finds what it tunes, best first; empty for the parent alone.
        note: the strategy's words for a writer.
        segments: the stretches of the trace to attend to, by index.
        place, trial: of the draft.
    """

    parent: Record | None = None
    others: tuple[Record, ...] = ()
    pool: Sequence[Record] = ()
    note: str = ""
    segments: tuple[int, ...] = ()
    place: str = ""
    trial: Trial | None = None
