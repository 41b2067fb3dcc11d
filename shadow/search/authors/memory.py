"""What a prompt needs of the results that a search knows of, kept as they come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..records import KEYLESS, Outcome, Record
from .prompts.builder import Edit, Mode, Request

#: Changes to one program that came to nothing, of which a writer is told.
FAILURES = 3
#: How often a program is given back to be repaired, and how many wait for that.
MOST_REPAIRS, MOST_BROKEN = 2, 8
#: Other programs in a prompt.
OTHERS = 4
#: What is wrong with a program itself, so that its author can mend it.
MENDABLE = frozenset(
    {Outcome.INVALID, Outcome.REJECTED, Outcome.FAULT, Outcome.VIOLATION, Outcome.TIMEOUT}
)
#: How the operators begin of what was written to a brief.
WRITE = "write:"


class Memory:
    """Remembers the best program, the policy in production, and what failed.

    Attributes:
        best: the record with the lowest score, of equal ones the first; None while nothing has a score.
        incumbent: the policy in production, where it was a seed and has a score.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.best: Record | None = None
        self.incumbent: Record | None = None
        self._last_failed: Record | None = None
        self._failures: dict[str, deque[Record]] = {}
        self._broken: deque[Record] = deque(maxlen=MOST_BROKEN)
        self._repairs: dict[str, int] = {}
        for record in records:
            self.learn(record)

    def learn(self, record: Record) -> None:
        """Take a result; each once, in order."""
        if record.outcome is Outcome.OK:
            if self.best is None or record.score < self.best.score:
                self.best = record
            if record.operator == "seed:incumbent":
                self.incumbent = record
        elif record.outcome in MENDABLE:
            self._last_failed = record
        if record.author != KEYLESS:
            self._learn_written(record)

    def _learn_written(self, record: Record) -> None:
        parent = record.parents[0] if record.parents else ""
        repairs = 0
        if record.operator == f"{WRITE}fix":
            repairs = self._repairs[record.program] = self._repairs.get(parent, 0) + 1
        if record.outcome in MENDABLE and repairs < MOST_REPAIRS:
            self._broken.append(record)
        if record.outcome is not Outcome.OK and parent:
            kept = self._failures.setdefault(parent, deque(maxlen=FAILURES))
            kept.appendleft(record)

    @property
    def broken(self) -> Record | None:
        """The latest program of a writer's that may be given back for repair."""
        return self._broken[-1] if self._broken else None

    @property
    def last_failed(self) -> Record | None:
        """The latest program, whoever made it, with whose own fault something can be learned."""
        return self._last_failed

    def given_back(self, record: Record) -> None:
        """Hear that a program is being repaired."""
        if record in self._broken:
            self._broken.remove(record)

    def request(
        self,
        mode: Mode,
        edit: Edit,
        parent: Record | None,
        others: tuple[Record, ...] = (),
        *,
        segments: tuple[int, ...] = (),
        note: str = "",
        hints: tuple[str, ...] = (),
    ) -> Request:
        """Return what to ask a writer, with all that is remembered of the parent."""
        name = parent.program if parent else ""
        return Request(
            mode=mode,
            edit=edit,
            parent=parent,
            others=tuple(each for each in others if each.program != name)[:OTHERS],
            best=self.best,
            incumbent=self.incumbent,
            failures=tuple(self._failures.get(name, ())),
            segments=segments,
            note=note,
            hints=hints,
        )
