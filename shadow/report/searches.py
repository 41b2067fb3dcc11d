"""The report of a search: one HTML page, in which every text that a candidate or a model wrote is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ..search.records import KEYLESS, Outcome, Record
from ..search.results.account import family
from ..search.results.result import (
    EvolveResult,
    cell,
    interval_words,
    proposed,
    scores_table,
    yields,
)
from ..search.results.runs import Run
from .page import Section, source_diff, write
from .search_plots import scores_over_steps, size_against_score, stretches
from .shown import Table, percent, printable

NAME = "report.html"
#: Of the lineage and of one text, what is shown at most.
_MOST_STEPS = 25
_MOST_TEXT = 6000
_MOST_ROWS = 30
#: Programs in the map of stretches.
_MOST_MAPPED = 8


def write_report(run: Run, result: EvolveResult | None = None, lead: str = "") -> Path:
    """Write ``report.html`` into a run's folder; return its path.

    Args:
        run: read from the folder.
        result: of the run, where the caller has it; else what the log alone says.
        lead: what is said first; the result's verdict when empty.
    """
    found = result or run.result()
    path = run.folder / NAME
    sections = [_clean(section) for section in _sections(run, found)]
    said = printable(lead or found.verdict)
    write(path, f"Search of {printable(run.subject)}", said, sections)
    return path


def _sections(run: Run, result: EvolveResult) -> Iterator[Section]:
    yield Section("What was found", (proposed(result), _spent(result)), scores_table(result))
    if result.diagnosis:
        yield Section("Diagnosis", result.diagnosis)
    yield from _figures(run, result)
    yield from _lineage(run)
    if result.winner is not None:
        what = "The winner" if result.improved else "The best of what was tried"
        yield Section(what, (result.origin,), code=result.winner.source)
    yield Section("What paid", (_OPERATORS,), yields(result.operators[:_MOST_ROWS], "operator"))
    if any(each.name != KEYLESS for each in result.authors):
        yield Section("Who paid", (_AUTHORS,), yields(result.authors[:_MOST_ROWS], "author"))
    yield Section("What became of the proposals", table=_outcomes(run))
    yield Section("Finalists", (_FINALISTS,), _finalists(result))
    if run.hints:
        rows = tuple((str(step), text) for step, text in run.hints[:_MOST_ROWS])
        yield Section("Hints", table=Table(("from step", "words"), rows))
    yield Section("Configuration", (f"Log {result.log_hash}",), _configuration(run))


_OPERATORS = (
    "Proposals by how they were made. Improved: times one was better on train than all before it."
)
_AUTHORS = "Proposals by who made them. Where a price is not known, what it cost comes on top of the dollars."
_FINALISTS = (
    "All were scored again on validation, which the search itself did not look at. Of those within 0.5 % of the "
    "best there the shortest wins; an evolved one takes part only if it beats every published one on train too."
)


def _spent(result: EvolveResult) -> str:
    time = f" in {result.seconds:.0f} s" if math.isfinite(result.seconds) else ""
    return f"Spent: {result.bill.words()}{time}. Isolation: {', '.join(result.layers) or 'none'}."


def _figures(run: Run, result: EvolveResult) -> Iterator[Section]:
    scored = [record for record in run.records if record.outcome is Outcome.OK]
    if not scored:
        yield Section("Scores", ("No proposal has a score.",))
        return
    yield Section("Scores over the search", figure=_scores(run, scored, result))
    sizes = [(record.nodes, record.score) for record in scored]
    best = run.leading()
    winner = (best.nodes, best.score) if best and best.outcome is Outcome.OK else None
    yield Section(
        "Size against score",
        ("The front: programs that no shorter one beats on train.",),
        figure=size_against_score(sizes, _front(sizes), winner),
    )
    yield from _map(scored, result)


def _scores(run: Run, scored: Sequence[Record], result: EvolveResult) -> str:
    keyless = all(record.author == KEYLESS for record in scored)
    rows = result.operators if keyless else result.authors
    groups: dict[str, list[tuple[int, float]]] = {each.name: [] for each in rows if each.scored}
    for record in scored:
        name = family(record.operator) if keyless else record.author
        groups.setdefault(name, []).append((record.step, record.score))
    lines = {}
    if result.incumbent is not None and math.isfinite(result.incumbent.train):
        lines["incumbent"] = result.incumbent.train
    if result.baseline is not None and math.isfinite(result.baseline.train):
        lines[f"published: {result.baseline.name}"] = result.baseline.train
    return scores_over_steps(groups, result.best_by_step, lines, run.records[-1].step)


def _front(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the points that no shorter one beats, shortest first."""
    front: list[tuple[int, float]] = []
    for nodes, score in sorted(points):
        if not front or score < front[-1][1]:
            front.append((nodes, score))
    return front


def _map(scored: Sequence[Record], result: EvolveResult) -> Iterator[Section]:
    base, rows, where = _validated(result) or _trained(scored)
    if len(rows) < 1 or len(base) < 2 or not all(value > 0.0 for value in base):
        return
    changes = {
        name: [(ours / theirs) - 1.0 for ours, theirs in zip(row, base, strict=True)]
        for name, row in rows.items()
    }
    yield Section(f"Stretch by stretch, on {where}", figure=stretches(changes))


Rows = tuple[Sequence[float], dict[str, Sequence[float]], str]


def _validated(result: EvolveResult) -> Rows | None:
    """Return the finalists' stretches of validation beside those of the best published policy."""
    base = result.baseline
    if base is None or len(base.segments) < 2:
        return None
    rows: dict[str, Sequence[float]] = {}
    for each in result.finalists:
        if each is not base and len(each.segments) == len(base.segments):
            name = each.name if each.name != "evolved" else f"evolved {each.program[:8]}"
            rows[name] = each.segments
    leading = dict(list(rows.items())[:_MOST_MAPPED])
    return (base.segments, leading, f"validation, against {base.name}") if leading else None


def _trained(scored: Sequence[Record]) -> Rows:
    """Return the best programs' stretches of train beside those of the best seed."""
    seeds = [record for record in scored if record.operator.startswith("seed:")] or scored[:1]
    base = min(seeds, key=lambda record: record.score)
    best = sorted(scored, key=lambda record: (record.score, record.step))[:_MOST_MAPPED]
    rows: dict[str, Sequence[float]] = {
        record.program[:8]: record.segments
        for record in best
        if record is not base and len(record.segments) == len(base.segments)
    }
    return base.segments, rows, f"train, against {base.operator}"


def _lineage(run: Run) -> Iterator[Section]:
    line = run.line()
    if not line:
        return
    rows = tuple(
        (str(r.step), r.program, r.author, r.operator, cell(r.score), _step(before, r))
        for before, r in zip((None, *line), line, strict=False)
    )
    head = ("step", "program", "author", "operator", "score on train", "change")
    text = "From the seed to the winner, or to the best on train where nothing has won yet."
    yield Section("Lineage", (text,), Table(head, rows[-_MOST_STEPS:]))
    for before, after in list(pairwise(line))[-_MOST_STEPS:]:
        diff = source_diff(before.source, after.source, before.program, after.program)
        yield Section(f"Step {after.step}: {after.operator}", (_words(before, after),), code=diff)


def _step(before: Record | None, after: Record) -> str:
    if before is None or not before.score:
        return "–"
    change = (after.score - before.score) / abs(before.score)
    return percent(change) if math.isfinite(change) else "–"


def _words(before: Record, after: Record) -> str:
    others = f", beside {', '.join(after.parents[1:])}" if after.parents[1:] else ""
    return f"by {after.author} from {before.program}{others}: {_step(before, after)}"


def _outcomes(run: Run) -> Table:
    reasons: dict[str, dict[str, int]] = {}
    for record in run.records:
        told = reasons.setdefault(str(record.outcome), {})
        told[record.reason[:120]] = told.get(record.reason[:120], 0) + 1
    rows = []
    for outcome, told in sorted(reasons.items()):
        commonest = max(told.items(), key=lambda pair: (bool(pair[0]), pair[1]))[0]
        rows.append((outcome, str(sum(told.values())), commonest))
    return Table(("outcome", "proposals", "commonest reason"), tuple(rows))


def _finalists(result: EvolveResult) -> Table:
    rows = tuple(
        (f.name, f.program, f.operator, str(f.nodes or "–"), cell(f.train), cell(f.validation))
        for f in result.finalists[:_MOST_ROWS]
    )
    gains = (
        f"search added {percent(result.search_added)}{interval_words(result.added_interval)}"
        if math.isfinite(result.search_added)
        else ""
    )
    return Table(("name", "program", "operator", "nodes", "train", "validation"), rows, gains)


def _configuration(run: Run) -> Table:
    rows = tuple((name, run.setting(name)) for name in _SETTINGS if run.setting(name))
    return Table(("setting", "value"), (*rows, ("state", str(run.state))))


_SETTINGS = (
    *("kind", "kind_version", "subject.hook", "subject.trace", "strategy", "start", "seed"),
    *("budget.evaluations", "budget.proposals", "budget.dollars", "window", "finalists"),
)


def _clean(section: Section) -> Section:
    """Return a section whose texts are printable and of a length that somebody reads."""
    table, said = section.table, section.text
    if table is not None:
        said = (*said, table.title) if table.title else said
        rows = tuple(tuple(_text(value) for value in row) for row in table.rows)
        table = replace(table, rows=rows)
    return replace(
        section,
        title=_text(section.title),
        text=tuple(_text(paragraph) for paragraph in said),
        table=table,
        code=_text(section.code),
    )


def _text(text: str) -> str:
    short = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}\n… cut"
    return printable(short)
