"""Runs as they lie in their folders: read without the lock, while they go on or long after.

What a log says is checked line by line; whatever is wrong with it is a TraceError that names the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ....sdk.errors import ConfigurationError
from ..holder import held
from ..lines import Final, Scored
from ..log import read_run
from ..records import Outcome, Record
from .account import lineage
from .finalist import Finalist, measured
from .gains import EQUAL
from .result import EvolveResult, concluded

LOG = "log.jsonl"
_MOST_TEXT = 200


class State(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # or out of time, or killed: --resume goes on
    FINISHED = "finished"
    ELSEWHERE = "on another machine"  # which alone knows whether it still runs


@dataclass(frozen=True)
class Run:
    """One run, as far as its log goes.

    Attributes:
        folder: of the run.
        state: where it is.
        config: the whole configuration, from the log's header; JSON values.
        records: of all proposals so far, by step.
        hints: words that were given while it ran, with the steps from which they hold.
        final: the line that closed the log, or None.
        log_hash: id of the log's last line.
    """

    folder: Path
    state: State
    config: dict[str, Any]
    records: tuple[Record, ...]
    hints: tuple[tuple[int, str], ...]
    final: Final | None
    log_hash: str

    @property
    def best(self) -> Record | None:
        """The record with the lowest score on train, of equals the shortest; None without any."""
        scored = (record for record in self.records if record.outcome is Outcome.OK)
        return min(scored, key=lambda r: (r.score, r.nodes, r.step), default=None)

    def setting(self, name: str) -> str:
        """Return a setting by its name in the header (``subject.hook``) as short text; empty without one."""
        found: Any = self.config
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return "" if found is None else str(found)[:_MOST_TEXT]

    @property
    def subject(self) -> str:
        """What the search is about: the hook, the problem's name, or the kind where neither is named."""
        named = (self.setting(name) for name in ("subject.hook", "problem", "kind"))
        return next(filter(None, named), self.folder.name)

    @property
    def negated(self) -> bool:
        """Whether scores are those of an evaluator that counts upwards, with the sign changed."""
        return self.setting("kind") == "problem"

    def result(self) -> EvolveResult:
        """Return what the log alone says of the run; seconds and isolation of an end are not in it."""
        finalists, best = self._finalists(), self.folder / "best.py"
        stopped = self.final.stopped if self.final else str(self.state)
        return concluded(
            self.records,
            finalists,
            self._incumbent(finalists),
            stopped="interrupted" if stopped == State.ELSEWHERE else stopped,
            log_hash=self.log_hash,
            layers=_texts(self.config.get("layers")),
            folder=self.folder if self.final is None or best.is_file() else None,
            within=_within(self.config.get("equal")),
        )

    def _finalists(self) -> tuple[Finalist, ...]:
        made = {record.program: record for record in reversed(self.records)}
        scored = self.final.finalists if self.final else ()
        return tuple(_finalist(each, made.get(each.program)) for each in scored)

    def _incumbent(self, finalists: Sequence[Finalist]) -> Finalist | None:
        known = self.final.incumbent if self.final else None
        if isinstance(known, Scored):
            return measured(known.train, known.validation, known.segments)
        return next((f for f in finalists if f.program == known), None)

    def leading(self) -> Record | None:
        """Return the record of the winner, or of the best on train where there is none yet."""
        wanted = self.final.winner if self.final else ""
        return next((r for r in self.records if r.program == wanted), self.best)

    def line(self) -> tuple[Record, ...]:
        """Return the records from a seed to :meth:`leading`, by first parents."""
        last = self.leading()
        return lineage(self.records, last.program)[::-1] if last else ()


def load(path: Path) -> Run:
    """Read a run from its folder, or from its log.

    Raises:
        ConfigurationError: there is no run.
        TraceError: the log was edited, is no log of a search, or a newer version wrote it.
    """
    folder = path.parent if path.name == LOG else path
    log = folder / LOG
    if not log.is_file():
        raise ConfigurationError(
            f"{path} holds no run of a search; name a folder that gnomon evolve wrote: "
            "gnomon runs list"
        )
    at_work = held(
        folder
    )  # before the log is read: a run that ends meanwhile has written its last line
    read = read_run(log)
    return Run(
        folder=folder,
        state=_state(read.final is not None, at_work),
        config=read.config,
        records=read.records,
        hints=read.hints,
        final=read.final,
        log_hash=read.hash,
    )


def _state(finished: bool, at_work: bool | None) -> State:
    if finished:
        return State.FINISHED
    if at_work is None:
        return State.ELSEWHERE
    return State.RUNNING if at_work else State.INTERRUPTED


def folders(root: Path) -> tuple[Path, ...]:
    """Return the folders below one that hold a log, in the order of their names."""
    return tuple(sorted(log.parent for log in root.rglob(LOG) if log.is_file()))


def _finalist(scored: Scored, record: Record | None) -> Finalist:
    return Finalist(
        name=scored.name,
        program=scored.program,
        source=record.source if record else "",
        operator=record.operator if record else "published",
        nodes=record.nodes if record else 0,
        train=scored.train,
        validation=scored.validation,
        segments=scored.segments,
    )


def _within(value: Any) -> float:
    """Return which scores are equal: a problem folder's header says so, a kind's does not."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else EQUAL


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
