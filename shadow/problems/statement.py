"""A problem folder in the words of a prompt: what its settings say of it."""

from __future__ import annotations

from ..search.authors.prompts.quoting import visible
from ..search.authors.prompts.statement import Statement
from .folder import Problem

#: Characters of the words that ``config.yaml`` has for a model.
MOST_TEXT = 6_000


def statement_of(problem: Problem) -> Statement:
    """Return what a search of a folder is about."""
    return Statement(
        title=problem.name,
        description="A program is to be changed so that its evaluator gives it a higher score.",
        objective="score",
        form="python",
        higher=True,
        blocks=bool(problem.marked.inside),
        text=visible(problem.settings.statement, MOST_TEXT),
    )
