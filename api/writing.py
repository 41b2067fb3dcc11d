"""Models as authors of a search: what they are told, and when they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .places import REGRESSIONS, VERDICTS

if TYPE_CHECKING:
    from ..shadow.gates.case import Target
    from ..shadow.models.options import ModelOptions
    from ..shadow.problems.folder import Problem
    from ..shadow.search.authors.prompts.statement import Statement
    from ..shadow.search.authors.writers import Authors
    from ..shadow.search.wiring import Arena

#: Returns what the search is about, and what earlier candidates were refused for.
About = Callable[[], "tuple[Statement, tuple[str, ...]]"]


@contextmanager
def writing(
    models: ModelOptions | None,
    prompts: str | Path | None,
    about: About,
    authors: Authors,
    dollars: float,
) -> Iterator[Authors]:
    """Yield the authors of a search, models among them where some are named.

    Args:
        prompts: folder of templates that take the place of the shipped ones.
        about: asked only where models are named.
        authors: who else takes part.
        dollars: the cap.

    Raises:
        ConfigurationError: a cap without a price, a template that does not work, or as
            :func:`~gnomon.shadow.models.ensemble.ensemble`.
    """
    if models is None:
        yield authors
        return
    from ..shadow.models.ensemble import ensemble, require_prices
    from ..shadow.search.authors.prompts.builder import Prompts
    from ..shadow.search.authors.prompts.templates import load
    from ..shadow.search.strategies import keyless

    require_prices(models, dollars)
    statement, lessons = about()
    templates = load(Path(prompts) if prompts is not None else None)
    built = Prompts(templates, statement, lessons=lessons)
    with ensemble(models, built, authors.makers or keyless(), authors) as all_of_them:
        yield all_of_them


def of_arena(arena: Arena, target: Target, folder: Path) -> About:
    """Return what a search on a trace is about; one that is resumed keeps the lessons that it began with."""

    def about() -> tuple[Statement, tuple[str, ...]]:
        from ..shadow.search.authors.prompts.lessons import begun_with, lessons
        from ..shadow.search.authors.prompts.statement import of_space
        from ..shadow.search.space import Space

        own = [each for each in target.invariants if each not in arena.kind.invariants]
        statement = of_space(Space(arena.kind, arena.scales()), own)
        refused = begun_with(folder)
        if refused is None:
            where = Path(REGRESSIONS), Path(VERDICTS)
            refused = lessons(arena.trace.hook, arena.kind.name, *where)
        return statement, refused

    return about


def of_problem(problem: Problem) -> About:
    """Return what a search of a problem folder is about."""

    def about() -> tuple[Statement, tuple[str, ...]]:
        from ..shadow.problems.statement import statement_of

        return statement_of(problem), ()

    return about
