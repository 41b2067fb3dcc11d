"""The finalists: the best on train, short ones among them, and the published policies, validated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..evaluation import Evaluation, Split, Status
from .core import Search
from .racing import replays_saved
from .records import Record, digest, program_id
from .result import EvolveResult, Finalist, diagnosis, gain, improvements, lineage, winner_of


class Finals:
    """Collects what has to be scored once more, and makes the result of it.

    Args:
        search: finished.
        incumbent: its source, or an empty string.
        top: how many evolved programs take part.
    """

    def __init__(self, search: Search, incumbent: str, top: int) -> None:
        self._search = search
        self._scores: dict[tuple[str, Split], float] = {}
        self._incumbent = self._key(incumbent) if incumbent else ""
        self._entries = self._published(incumbent)
        for record in self._leading(top):
            self._entries[record.key] = ("evolved", record.source)
        for key, (_, source) in self._entries.items():
            known = search.score_of(key)
            if known is not None:
                self._scores[source, "train"] = known.score

    def _published(self, incumbent: str) -> dict[str, tuple[str, str]]:
        """Return name and source by canonical key; of equal programs the first name stands."""
        sources = self._search.space.baselines() | ({"incumbent": incumbent} if incumbent else {})
        entries: dict[str, tuple[str, str]] = {}
        for name, source in sources.items():
            entries.setdefault(self._key(source), (name, source))
        return entries

    def _leading(self, top: int) -> list[Record]:
        """Return the archive's programs that take part, published ones left out.

        Half are those that no shorter program beats on train, the best on train first, because what
        is short fits a trace less by chance; the others are the archive's first.
        """
        members = self._search.archive.members
        evolved = [record for record in members if record.key not in self._entries]
        chosen = _front(evolved)[: (top + 1) // 2]
        return chosen + [record for record in evolved if record not in chosen][: top - len(chosen)]

    def _key(self, source: str) -> str:
        return digest(self._search.space.dialect.key(source))[:16]

    def wanted(self) -> Iterator[tuple[str, Split]]:
        """Yield what has to be evaluated: validation of all, and train where it is not known."""
        for _, source in self._entries.values():
            yield source, "validation"
            if (source, "train") not in self._scores:
                yield source, "train"

    def scored(self, source: str, split: Split, evaluation: Evaluation) -> None:
        """Take one score; a program that failed has none."""
        fine = evaluation.status is Status.OK
        self._scores[source, split] = evaluation.score if fine else math.nan

    def restore(self, final: Mapping[str, Any]) -> None:
        """Take the scores from the line that closed the log."""
        sources = {program_id(source): source for _, source in self._entries.values()}
        for _, program, train, validation in final["finalists"]:
            source = sources[program]
            self._scores[source, "train"] = math.nan if train is None else train
            self._scores[source, "validation"] = math.nan if validation is None else validation

    def finalists(self) -> tuple[Finalist, ...]:
        """Return all finalists, best on validation first; last those without a score on both windows."""
        made = [self._finalist(name, source) for name, source in self._entries.values()]
        return tuple(sorted(made, key=_order))

    def _finalist(self, name: str, source: str) -> Finalist:
        record = self._record(source)
        return Finalist(
            name=name,
            program=program_id(source),
            source=source,
            operator=record.operator if record else "published",
            nodes=self._search.space.dialect.nodes(source),
            train=self._scores.get((source, "train"), math.nan),
            validation=self._scores.get((source, "validation"), math.nan),
        )

    def _record(self, source: str) -> Record | None:
        wanted = program_id(source)
        return next((r for r in self._search.records if r.program == wanted), None)

    def summary(self, stopped: str) -> dict[str, Any]:
        """Return what closes the log, as JSON values."""
        finalists = self.finalists()
        winner = winner_of(finalists)
        return {
            "stopped": stopped,
            "winner": winner.program if winner else None,
            "finalists": [
                [f.name, f.program, _number(f.train), _number(f.validation)] for f in finalists
            ],
        }

    def result(
        self,
        stopped: str,
        log_hash: str,
        seconds: float,
        incumbent_scores: tuple[float, float] | None = None,
    ) -> EvolveResult:
        """Return the result of the run."""
        finalists, records = self.finalists(), self._search.records
        winner = winner_of(finalists)
        incumbent = self._incumbent_among(finalists, incumbent_scores)
        baseline = next((f for f in finalists if f.name not in {"evolved", "incumbent"}), None)
        return EvolveResult(
            winner=winner,
            baseline=baseline,
            incumbent=incumbent,
            finalists=finalists,
            search_added=_added(winner, baseline),
            origin=_origin(winner),
            stopped=stopped,
            counts={str(outcome): n for outcome, n in sorted(self._search.counts.items())},
            best_by_step=improvements(records),
            lineage=lineage(records, winner.program) if winner else (),
            # half a run says nothing of why it failed: its finalists may not be scored
            diagnosis=()
            if stopped == "interrupted"
            else diagnosis(records, winner, baseline, incumbent, finalists),
            log_hash=log_hash,
            seconds=seconds,
            replays_saved=replays_saved(records),
        )

    def _incumbent_among(
        self, finalists: Sequence[Finalist], scores: tuple[float, float] | None
    ) -> Finalist | None:
        if scores is not None:
            return Finalist("incumbent", "incumbent", "", "measured", 0, *scores)
        return next((f for f in finalists if self._key(f.source) == self._incumbent), None)


def _front(records: Sequence[Record]) -> list[Record]:
    """Return the records that are shorter than all with a lower score, lowest score first."""
    front: list[Record] = []
    for record in sorted(records, key=lambda r: (r.score, r.nodes, r.step)):
        if not front or record.nodes < front[-1].nodes:
            front.append(record)
    return front


def _order(finalist: Finalist) -> tuple[bool, float, float, int, str]:
    validation, train = (
        score if math.isfinite(score) else math.inf
        for score in (finalist.validation, finalist.train)
    )
    return not finalist.sound, validation, train, finalist.nodes, finalist.program


def _added(winner: Finalist | None, baseline: Finalist | None) -> float:
    if winner is None or baseline is None:
        return math.nan
    return gain(baseline.validation, winner.validation) if winner.name == "evolved" else 0.0


def _origin(winner: Finalist | None) -> str:
    if winner is None:
        return "none"
    if winner.name in {"evolved", "incumbent"}:
        return winner.name
    return f"published baseline {winner.name}, search added 0 %"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
