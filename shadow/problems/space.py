"""A problem folder as what is searched: programs that differ from the initial one between its marks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..search.prompts.statement import Statement
from ..search.space import Start
from .dialect import BlockDialect
from .folder import Problem

INITIAL = "initial"


@dataclass(frozen=True)
class ProblemSpace:
    """A :class:`~gnomon.shadow.search.space.SearchSpace` over a problem folder.

    Attributes:
        problem: that is searched.
    """

    problem: Problem

    @cached_property
    def dialect(self) -> BlockDialect:
        """Plain Python between the marks."""
        return BlockDialect(self.problem)

    @property
    def equal(self) -> float:
        """Only the same score is equal: the unit is the evaluator's, and small gains may be what it is about."""
        return 0.0

    def baselines(self) -> dict[str, str]:
        """Return the initial program."""
        return {INITIAL: self.problem.program}

    def starts(self, start: Start, incumbent: str = "") -> dict[str, str]:
        """Return the initial program, the one thing that a search of a folder starts from."""
        return self.baselines()

    @property
    def statement(self) -> Statement:
        """What a writer is told of the problem: the words of ``config.yaml``, or the folder's name alone."""
        settings = self.problem.settings
        return Statement(
            title=self.problem.name,
            description="A program is to be changed so that its evaluator gives it a higher score.",
            form="python",
            objective="score",
            higher=True,
            blocks=bool(self.problem.marked.inside),
            text=settings.statement,
        )

    def identity(self) -> dict[str, Any]:
        """Return the folder's name; what is in it stands under the header's subject."""
        return {"kind": "problem", "problem": self.problem.name, "equal": self.equal}
