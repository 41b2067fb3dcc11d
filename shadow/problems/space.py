"""A problem folder as what is searched: programs that differ from the initial one between its marks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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

    @property
    def dialect(self) -> BlockDialect:
        """Plain Python between the marks."""
        return self._dialect

    @cached_property
    def _dialect(self) -> BlockDialect:
        return BlockDialect(self.problem)

    @property
    def equal(self) -> float:
        """Only the same score is equal: the unit is the evaluator's, and small gains may be what it is about."""
        return 0.0

    @property
    def higher(self) -> bool:
        """Higher is better, as OpenEvolve counts."""
        return True

    def baselines(self) -> dict[str, str]:
        """Return the initial program."""
        return {INITIAL: self.problem.program}

    def starts(self, start: Start, incumbent: str = "") -> dict[str, str]:
        """Return the initial program, the one thing that a search of a folder starts from."""
        return self.baselines()

    def identity(self) -> dict[str, Any]:
        """Return the folder's name; what is in it stands under the header's subject."""
        return {"kind": "problem", "problem": self.problem.name, "equal": self.equal}
