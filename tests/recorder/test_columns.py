"""Columns hold what the records held, and joining them is joining the records."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder.columns import Decisions, Outcomes, concat, take
from gnomon.recorder.join import join, match
from gnomon.sdk.records import Decision, Outcome, Record

from .fakes import decision, decisions, outcome, outcomes
from .test_encode import exact


def bits(records: list[Decision] | list[Outcome]) -> list[object]:
    return [exact(tuple(record)) for record in records]


@given(st.lists(decisions(), max_size=6), st.lists(outcomes(), max_size=6))
def test_records_come_back_from_columns(made: list[Decision], ends: list[Outcome]) -> None:
    assert bits(Decisions.of(made).records()) == bits(made)
    assert bits(Outcomes.of(ends).records()) == bits(ends)


@given(st.lists(st.lists(decisions(), max_size=4), min_size=1, max_size=4), st.data())
def test_columns_are_put_together_and_picked_from(
    parts: list[list[Decision]], data: st.DataObject
) -> None:
    flat = [record for part in parts for record in part]
    whole: Decisions = concat([Decisions.of(part) for part in parts])
    assert bits(whole.records()) == bits(flat)
    some = data.draw(st.lists(st.integers(0, len(flat) - 1), max_size=5)) if flat else []
    picked = take(whole, np.array(some, np.int64))
    assert bits(picked.records()) == bits([flat[i] for i in some])
    mask = np.arange(len(flat)) % 2 == 0
    assert bits(take(whole, mask).records()) == bits(flat[::2])


@given(st.lists(st.lists(outcomes(), max_size=4), min_size=1, max_size=4))
def test_outcomes_are_put_together(parts: list[list[Outcome]]) -> None:
    whole: Outcomes = concat([Outcomes.of(part) for part in parts])
    assert bits(whole.records()) == bits([record for part in parts for record in part])


@given(
    st.lists(st.integers(0, 9), unique=True),
    st.lists(st.integers(0, 12)),
    st.randoms(use_true_random=False),
)
def test_matching_is_joining(seqs: list[int], ends: list[int], rng: object) -> None:
    """Also of outcomes that come first, come again or belong to nobody; decisions come once."""
    made = [decision(seq) for seq in seqs]
    results = [outcome(decision(seq), status=f"{i}") for i, seq in enumerate(ends)]
    mixed: list[Record] = [*made, *results]
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    made = [each for each in mixed if isinstance(each, Decision)]
    results = [each for each in mixed if isinstance(each, Outcome)]
    joined = join(mixed)
    found, alone = match(Decisions.of(made).seq, Outcomes.of(results).seq)
    pairs = {(d, results[i] if i >= 0 else None) for d, i in zip(made, found.tolist(), strict=True)}
    assert pairs == set(joined.decisions)
    assert sorted(results[i].status for i in alone) == sorted(o.status for o in joined.outcomes)


def test_a_decision_that_is_there_twice_has_its_outcome_twice() -> None:
    found, alone = match(np.array([7, 8, 7], np.uint64), np.array([9, 7, 7], np.uint64))
    assert found.tolist() == [1, -1, 1]
    assert alone.tolist() == [0, 2]


def test_numbers_near_two_to_the_sixty_four_are_told_apart() -> None:
    top = 2**64 - 1
    found, alone = match(np.array([top, top - 1, 0], np.uint64), np.array([top - 1], np.uint64))
    assert found.tolist() == [-1, 0, -1]
    assert alone.tolist() == []
