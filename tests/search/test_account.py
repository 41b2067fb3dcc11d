"""What proposals came to and cost, by whom and how."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.records import FREE, Outcome, Record
from gnomon.shadow.search.results.account import (
    Bill,
    bill,
    by_author,
    by_operator,
    family,
    improvements,
    lineage,
)

OUTCOMES = st.sampled_from(list(Outcome))
COSTS = st.one_of(st.none(), st.floats(0.0, 10.0))


def record(
    step: int,
    score: float = math.nan,
    program: str = "",
    *parents: str,
    operator: str = "jitter",
    outcome: Outcome | None = None,
    author: str = "keyless",
    cost: float | None = 0.0,
) -> Record:
    what = outcome or (Outcome.OK if math.isfinite(score) else Outcome.FAULT)
    name = program or f"p{step}"
    return Record(
        step, name, "k", "s", operator, parents, 3, what, score,
        author=author, cost=cost, tokens_in=10, tokens_out=1,
    )  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> list[Record]:
    """Runs with outcomes, authors and costs of every kind."""
    made = []
    for step in range(draw(st.integers(0, 30))):
        outcome = draw(OUTCOMES)
        score = draw(st.floats(0.0, 9.0)) if outcome is Outcome.OK else math.nan
        made.append(
            record(
                step,
                score,
                operator=draw(st.sampled_from(["seed:a", "seed:b", "wrap", "a+b", ""])),
                outcome=outcome,
                author=draw(st.sampled_from(["keyless", "m/1", "person"])),
                cost=draw(COSTS),
            )
        )
    return made


@given(runs())
def test_every_proposal_is_in_exactly_one_row(records: list[Record]) -> None:
    for rows in (by_operator(records), by_author(records)):
        assert sum(row.proposals for row in rows) == len(records)
        assert sum(row.evaluated for row in rows) == sum(r.outcome not in FREE for r in records)
        assert sum(row.improved for row in rows) == len(improvements(records))
        assert sum(row.unpriced for row in rows) == bill(records).unpriced
        assert math.fsum(row.dollars for row in rows) == pytest.approx(bill(records).dollars)
        for row in rows:
            assert row.improved <= row.scored <= row.evaluated <= row.proposals
            assert math.isnan(row.best) == (row.scored == 0)
        assert [row.improved for row in rows] == sorted((r.improved for r in rows), reverse=True)


@given(runs())
def test_an_unknown_price_is_never_shown_as_nothing(records: list[Record]) -> None:
    said = bill(records).words()
    if any(r.cost is None for r in records):
        assert "unknown" in said
    assert ("nothing" in said) == (not records)


def test_bills_in_words() -> None:
    assert Bill().words() == "nothing: no model was asked"
    assert Bill(1.5, 0, 12_000, 300).words() == "$1.5000, 12,000 tokens in, 300 out"
    assert Bill(1.5, 2, 0, 0).words().startswith("$1.5000 and 2 answers of unknown price, ")
    assert Bill(0.0, 2, 5, 6).words() == (
        "unknown dollars (2 answers without a price), 5 tokens in, 6 out"
    )


def test_operators_of_one_kind_are_one_row() -> None:
    assert [family(name) for name in ("seed:peak_ewma", "probe:300", "wrap", "wrap+jitter", "")] == [
        "seed", "probe", "wrap", "combined", "unnamed",
    ]  # fmt: skip


def test_lineage_follows_first_parents_to_a_seed_and_never_in_circles() -> None:
    records = [record(0, 3.0, "a"), record(1, 2.0, "b", "a", "z"), record(2, 1.0, "c", "b")]
    assert [r.program for r in lineage(records, "c")] == ["c", "b", "a"]
    circle = [record(0, 3.0, "a", "b"), record(1, 2.0, "b", "a")]
    assert len(lineage(circle, "a")) == 2
    assert lineage(records, "unknown") == ()


def test_improvements_are_those_on_all_before() -> None:
    scores = (5.0, math.nan, 6.0, 4.0, 4.0, 1.0)
    records = [record(step, score) for step, score in enumerate(scores)]
    assert improvements(records) == ((0, 5.0), (3, 4.0), (5, 1.0))
