"""The finalists: the best on train, short ones among them, and the published policies, validated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ....sdk.errors import TraceError
from ...evaluation import Evaluation, Split, Status
from ..core import Search
from ..lines import Final, Scored
from ..records import Outcome, Record, digest, program_id
from .finalist import Finalist, in_order, winner_of
from .result import EvolveResult, concluded

#: What an evaluation on train ended in that would end so again; a failure has no score.
_CERTAIN = frozenset({Outcome.OK, Outcome.REJECTED, Outcome.FAULT, Outcome.VIOLATION})


#: Programs whose structure is looked at, best on train first.
_LOOKED_AT = 1000


class Finals:
    """Collects what has to be scored once more, and makes the result of it.

    Args:
        search: finished.
        incumbent: its source, or an empty string.
        top: how many evolved programs take part.
        production: the incumbent, where it is measured and no program.
    """

    def __init__(
        self,
        search: Search,
        incumbent: str,
        top: int,
        production: Finalist | None = None,
    ) -> None:
        self._search = search
        self._production = production
        self._segments: dict[str, tuple[float, ...]] = {}
        self._scores: dict[tuple[str, Split], float] = {}
        self._incumbent = self._key(incumbent) if incumbent else ""
        self._entries = self._published(incumbent)
        for record in self._leading(top):
            self._entries[record.key] = ("evolved", record.source)
        for record in search.records:
            if record.outcome in _CERTAIN and record.key in self._entries:
                self._scores[self._entries[record.key][1], "train"] = record.score

    def _published(self, incumbent: str) -> dict[str, tuple[str, str]]:
        """Return name and source by canonical key; of equal programs the first name stands."""
        sources = self._search.space.baselines() | ({"incumbent": incumbent} if incumbent else {})
        entries: dict[str, tuple[str, str]] = {}
        for name, source in sources.items():
            entries.setdefault(self._key(source), (name, source))
        return entries

    def _leading(self, top: int) -> list[Record]:
        """Return the programs that take part, published ones left out.

        Half are those of the archive that no shorter program beats on train, the best on train first, because
        what is short fits a trace less by chance. The others are the best of every structure, of all that
        were evaluated: the best on train are mostly one structure with other constants, and if that fits
        train by chance all of them do.
        """
        members = self._search.archive.members
        evolved = [record for record in members if record.key not in self._entries]
        chosen = _front(evolved)[: (top + 1) // 2]
        for record in (*self._structures(), *evolved):
            if len(chosen) < top and record not in chosen:
                chosen.append(record)
        return chosen

    def _structures(self) -> list[Record]:
        """Return the best program of every structure, constants apart, best on train first."""
        scored = (r for r in self._search.records if r.outcome is Outcome.OK)
        best = sorted(scored, key=lambda r: (r.score, r.nodes, r.step))[:_LOOKED_AT]
        found: dict[str, Record] = {}
        for record in best:
            if record.key not in self._entries:
                found.setdefault(self._search.space.dialect.skeleton(record.source), record)
        return list(found.values())

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
        if split == "validation":
            self._segments[source] = evaluation.segments if fine else ()

    def restore(self, final: Final) -> None:
        """Take the scores from the line that closed the log."""
        sources = {program_id(source): source for _, source in self._entries.values()}
        for scored in final.finalists:
            if scored.program not in sources:
                raise TraceError(
                    f"the log's last line names program {scored.program}, which is no finalist of this "
                    "search: another version made the log; start a new run with another --out"
                )
            source = sources[scored.program]
            self._scores[source, "train"] = scored.train
            self._scores[source, "validation"] = scored.validation
            self._segments[source] = scored.segments

    def finalists(self) -> tuple[Finalist, ...]:
        """Return all finalists, best on validation first; last those without a score on both windows."""
        return in_order([self._finalist(name, source) for name, source in self._entries.values()])

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
            segments=self._segments.get(source, ()),
        )

    def _record(self, source: str) -> Record | None:
        wanted = program_id(source)
        return next((r for r in self._search.records if r.program == wanted), None)

    def summary(self, stopped: str) -> Final:
        """Return what closes the log."""
        finalists = self.finalists()
        winner, incumbent = winner_of(finalists), self._incumbent_among(finalists)
        known: Scored | str | None = incumbent.program if incumbent else None
        return Final(
            stopped,
            winner.program if winner else "",
            tuple(map(_scored, finalists)),
            _scored(self._production) if self._production else known,
        )

    def result(
        self, stopped: str, log_hash: str, seconds: float, layers: tuple[str, ...] = ()
    ) -> EvolveResult:
        """Return the result of the run."""
        finalists = self.finalists()
        return concluded(
            self._search.records,
            finalists,
            self._incumbent_among(finalists),
            stopped=stopped,
            log_hash=log_hash,
            seconds=seconds,
            layers=layers,
            within=self._search.space.equal,
        )

    def _incumbent_among(self, finalists: Sequence[Finalist]) -> Finalist | None:
        if self._production is not None:
            return self._production
        return next((f for f in finalists if self._key(f.source) == self._incumbent), None)


def _front(records: Sequence[Record]) -> list[Record]:
    """Return the records that are shorter than all with a lower score, lowest score first."""
    front: list[Record] = []
    for record in sorted(records, key=lambda r: (r.score, r.nodes, r.step)):
        if not front or record.nodes < front[-1].nodes:
            front.append(record)
    return front


def _scored(of: Finalist) -> Scored:
    return Scored(of.name, of.program, of.train, of.validation, of.segments)
