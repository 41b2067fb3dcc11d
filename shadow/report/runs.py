"""Runs of searches as results that show themselves: a list of them, one of them, what was written of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...sdk.errors import GnomonError
from ..search.records import FREE, Outcome, Record
from ..search.results.account import bill
from ..search.results.result import EvolveResult, cell
from ..search.results.runs import LOG, Run, folders, load
from .page import source_diff
from .shown import Code, Part, Shown, Table, percent, plain

#: Steps of a lineage that are shown, and those with their changes.
_MOST_STEPS = 25
_MOST_DIFFS = 10


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in a list.

    Attributes:
        folder: of the run.
        subject: hook, problem or kind.
        strategy: by name.
        state: ``running``, ``interrupted``, ``finished``, ``on another machine`` or ``damaged``.
        proposals, evaluated: how many there are so far.
        best: lowest score on train, or NaN.
        dollars: spent as far as it is known.
        changed: when the log was written last, seconds since 1970.
        damage: what is wrong with the log; empty when nothing is.
    """

    folder: Path
    subject: str
    strategy: str
    state: str
    proposals: int
    evaluated: int
    best: float
    dollars: float
    changed: float
    damage: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class RunList(Shown):
    """The runs below a folder.

    Attributes:
        root: the folder.
        rows: the runs, last changed first.
    """

    root: Path
    rows: tuple[RunRow, ...]

    @property
    def damaged(self) -> bool:
        """Whether some log cannot be read."""
        return any(row.damage for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; a number that is missing is null."""
        names = RunRow.__dataclass_fields__
        rows = [{name: getattr(row, name) for name in names} for row in self.rows]
        values: dict[str, Any] = plain({"root": self.root, "runs": rows})
        return values

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the runs, and what is wrong with some."""
        if not self.rows:
            return (f"{self.root}: no runs",)
        head = ("run", "subject", "strategy", "state", "proposals", "evaluated", "best", "changed")
        rows = tuple(
            (
                str(row.folder),
                row.subject,
                row.strategy,
                row.state,
                str(row.proposals),
                str(row.evaluated),
                cell(row.best),
                f"{datetime.fromtimestamp(row.changed, UTC):%Y-%m-%d %H:%M} UTC",
            )
            for row in self.rows
        )
        return (Table(head, rows), *(row.damage for row in self.rows if row.damage))


def listed(root: Path) -> RunList:
    """Return the runs below a folder; one whose log is damaged is in the list and says so."""
    rows = [_row(folder) for folder in folders(root)]
    return RunList(root, tuple(sorted(rows, key=lambda row: (-row.changed, str(row.folder)))))


def _row(folder: Path) -> RunRow:
    changed = (folder / LOG).stat().st_mtime
    try:
        run = load(folder)
    except GnomonError as error:
        nothing = float("nan")
        return RunRow(folder, "-", "-", "damaged", 0, 0, nothing, 0.0, changed, str(error))
    best = run.best
    return RunRow(
        folder=folder,
        subject=run.subject,
        strategy=run.setting("strategy"),
        state=str(run.state),
        proposals=len(run.records),
        evaluated=sum(record.outcome not in FREE for record in run.records),
        best=best.score if best else float("nan"),
        dollars=bill(run.records).dollars,
        changed=changed,
    )


@dataclass(frozen=True, slots=True, repr=False)
class RunStory(Shown):
    """One run: where it is, what came of it, and how its best program came to be.

    Attributes:
        run: as its log has it.
        result: as far as the log says.
    """

    run: Run
    result: EvolveResult

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; a number that is missing is null."""
        line = [self._entry(before, after) for before, after in self._steps()]
        values: dict[str, Any] = plain(
            {
                "folder": self.run.folder,
                "state": str(self.run.state),
                "config": self.run.config,
                "hints": self.run.hints,
                "line": line,
            }
        )
        return values | {"result": self.result.to_json()}

    def _entry(self, before: Record | None, after: Record) -> dict[str, Any]:
        return {
            "step": after.step,
            "program": after.program,
            "author": after.author,
            "operator": after.operator,
            "score": after.score,
            "diff": _diff(before, after),
        }

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: state, result, lineage with its changes."""
        run = self.run
        said = f"{run.folder}: {run.state}; {run.subject}, strategy {run.setting('strategy')}"
        hints = (f"hint from step {step}: {text}" for step, text in run.hints)
        return (
            f"{said}, seed {run.setting('seed')}",
            *(("the evaluator's scores are negated here: lower is better",) if run.negated else ()),
            *self.result.parts(),
            *hints,
            *self._lineage(),
        )

    def _lineage(self) -> tuple[Part, ...]:
        steps = self._steps()
        if not steps:
            return ("no program has a score yet",)
        rows = tuple(
            (str(r.step), r.program, r.author, r.operator, cell(r.score), _change(before, r))
            for before, r in steps[-_MOST_STEPS:]
        )
        head = ("step", "program", "author", "operator", "score", "change")
        changes: list[Part] = []
        for before, after in steps[-_MOST_DIFFS:]:
            if before is not None:
                changes += [f"step {after.step}: {after.operator}", Code(_diff(before, after))]
        return (Table(head, rows, "Lineage, oldest first; scores on train"), *changes)

    def _steps(self) -> list[tuple[Record | None, Record]]:
        line = self.run.line()
        return list(zip((None, *line), line, strict=False))


def story(path: Path) -> RunStory:
    """Return one run; raises ConfigurationError where there is none and TraceError where it is damaged."""
    run = load(path)
    return RunStory(run, run.result())


def _diff(before: Record | None, after: Record) -> str:
    if before is None:
        return ""
    return source_diff(before.source, after.source, before.program, after.program)


def _change(before: Record | None, after: Record) -> str:
    both = before is not None and before.outcome is after.outcome is Outcome.OK
    if before is None or not both or not before.score:
        return "–"
    return percent((after.score - before.score) / abs(before.score))


@dataclass(frozen=True, slots=True, repr=False)
class Written(Shown):
    """A file that was written of a run.

    Attributes:
        path: of the file.
        proposals: that it is about.
        size: of the file, bytes.
    """

    path: Path
    proposals: int
    size: int

    @classmethod
    def of(cls, run: Run, path: Path) -> Written:
        """Return what was written."""
        return cls(path, len(run.records), path.stat().st_size)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"path": str(self.path), "proposals": self.proposals, "bytes": self.size}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the file and its size."""
        return (f"{self.path}: {self.proposals} proposals, {self.size} bytes",)
