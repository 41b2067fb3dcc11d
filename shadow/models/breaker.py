"""A circuit breaker: a model that gives nothing of use is left alone for a while.

It counts in steps of the search and learns from records in their order, so that it does the same in a
resumed run. Pattern: M. Nygard, Release It! (2007).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..search.records import Outcome, Record

#: Answers without use in a row that open it.
OPENS_AFTER = 5
#: Steps until a probe; twice as many after each probe that fails, up to the second.
_PAUSE, _LONGEST = 16, 256


@dataclass(slots=True)
class _Circuit:
    """Of one model."""

    failures: int = 0
    pause: int = _PAUSE
    opened: int = -1  # at the step of the record that did it
    probe: int = -1  # step of the last one
    next_probe: int = 0
    reason: str = ""

    @property
    def open(self) -> bool:
        return self.opened >= 0

    def failed(self, record: Record) -> None:
        self.failures += 1
        self.reason = record.reason
        if self.open and record.step == self.probe:  # all else was under way when it opened
            self.pause = min(2 * self.pause, _LONGEST)
            self.next_probe = record.step + self.pause
        elif not self.open and self.failures >= OPENS_AFTER:
            self.opened = record.step
            self.next_probe = record.step + self.pause


class Breaker:
    """One circuit for each model.

    Args:
        models: names, as in ``author`` of briefs and records.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self._circuits = {model: _Circuit() for model in models}

    def allowed(self, step: int) -> tuple[str, ...]:
        """Return the models that may be asked at a step: those that answer, and one that is due for a probe."""
        circuits = self._circuits.items()
        return tuple(name for name, c in circuits if not c.open or step >= c.next_probe)

    def allows(self, step: int) -> bool:
        """Return whether any model may be asked at a step."""
        return bool(self.allowed(step))

    def asked(self, step: int, model: str) -> None:
        """Hear that a model is asked at a step: where that is a probe, no other follows until it is due."""
        circuit = self._circuits.get(model)
        if circuit is not None and circuit.open:
            circuit.probe = step
            circuit.next_probe = step + circuit.pause

    def learn(self, record: Record) -> None:
        """Take the record of an answer; those of others than these models say nothing."""
        circuit = self._circuits.get(record.author)
        if circuit is None:
            return
        if record.outcome is Outcome.UNANSWERED:
            circuit.failed(record)
        else:
            self._circuits[record.author] = _Circuit()

    @property
    def told(self) -> str:
        """One line on the models that are left alone; empty where there are none."""
        silent = {name: c for name, c in self._circuits.items() if c.open}
        if not silent:
            return ""
        parts = [
            f"{name} since step {c.opened} ({c.failures} answers of no use in a row; the last: {c.reason})"
            for name, c in silent.items()
        ]
        rest = "keyless search goes on" if len(silent) == len(self._circuits) else "others go on"
        return f"left alone: {'; '.join(parts)}; {rest}"


def silence(models: Iterable[str], records: Iterable[Record]) -> str:
    """Return what :attr:`Breaker.told` says after all records of a run."""
    breaker = Breaker(models)
    for record in records:
        breaker.learn(record)
    return breaker.told
