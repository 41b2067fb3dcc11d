"""One generated function per call of a hook answers as the steps of the guard do, bit for bit."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.sdk._answer import Answering
from gnomon.sdk.errors import LanguageError
from gnomon.sdk.guard import Guarded, Host, preparer
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.kind import Feature, Kind, Metric
from gnomon.sdk.language import check, chooser
from gnomon.sdk.limits import Breaker, Limits
from gnomon.sdk.members import join

from .test_tiers import ROWS, sources

LIMIT = 3.0


def kind(low: float = -math.inf, high: float = math.inf, **more: Any) -> Kind:
    return Kind(
        name="tried",
        version=1,
        description="",
        features=tuple(Feature(name, "1", "", low, high) for name in "abc"),
        objective=Metric("m", "1", 1.0),
        max_nodes=4000,
        **more,
    )


WIDE, NARROW, HIGHEST = kind(), kind(0.0, 100.0), kind(-1e9, math.inf, order="highest")
READINGS = {
    "written out": lambda item: (item[0], item[1], item[2]),
    "called": tuple,
}


def never_heavy(items: Any, picked: Any) -> bool:
    return picked.a <= LIMIT or picked.b > picked.c  # type: ignore[no-any-return]


def among_many(items: Any, picked: Any) -> bool:
    return sum(item.a >= picked.a for item in items) > 0


RULES = {
    "none": (),
    "of the pick": (Invariant("pick", never_heavy),),
    "of all": (Invariant("all", among_many), Invariant("pick", never_heavy)),
    "raises": (Invariant("raises", lambda items, picked: 1.0 / picked.a > -9.0),),
}


class Both:
    """A program that answers in one function, and another guard of it that answers in steps."""

    def __init__(self, of: Kind, source: str, reading: Any, rules: Any) -> None:
        self.kind = of
        self.program = check(source, of.input_names, max_nodes=4000, max_fuel=900)
        self.read = reading
        self.slow_calls = 0
        self.begun: Any = None
        self.fused_noise, self.stepped_noise = Random(7), Random(7)
        self.fused = self.guarded(rules, self.fused_noise)
        self.stepped = self.guarded(rules, self.stepped_noise)
        self.answering = Answering(self.fused, self.program, of, reading, self.slow)

    def guarded(self, rules: Any, noise: Random) -> Guarded:
        host = Host(preparer(self.kind), noise.random, lambda: 1, Limits(), lambda: None)
        breaker = Breaker(host.limits, lambda reason: None)
        return Guarded(chooser(self.program, self.kind), self.kind, rules, host, breaker)

    def slow(self, items: Any, members: Any, number: int) -> Any:
        self.slow_calls += 1
        self.fused_noise.setstate(self.begun)  # the steps begin anew
        return self.steps(self.fused, items, members, number)

    def steps(self, guarded: Guarded, items: Any, members: Any, number: int) -> Any:
        rows, since = [*map(self.read, items)], [number - last for last in members.last]
        index, detail, full, spent = guarded.ask(rows, since, number)
        return index, detail, tuple(full) if full is not None else [rows, since], spent

    def completed(self, seen: Any, members: Any, number: int, other: Any) -> Any:
        """Add what the drainer adds to rows of a program that reads nothing of the host's."""
        if not isinstance(seen, tuple) or {*map(len, seen)} == {5}:
            return seen
        since = [float(max(number - last, 1)) for last in members.last]
        noise = [(*row, other_row[-1])[3] for row, other_row in zip(seen, other, strict=True)]
        return tuple((*row[:3], n, z) for row, n, z in zip(seen, since, noise, strict=True))

    def answers(self, items: list[Any], number: int) -> tuple[Any, Any]:
        members = join(join_nobody(), items, None, 0)
        members.last = [number - i * 3 for i in range(len(items))]
        self.begun = self.fused_noise.getstate()
        index, detail, seen, _ = self.answering.of(len(items))(items, members, number)
        index2, detail2, seen2, _ = self.steps(self.stepped, items, members, number)
        if self.begun == self.fused_noise.getstate():  # nothing was drawn
            self.fused_noise.setstate(self.stepped_noise.getstate())
        seen = self.completed(seen, members, number, seen2)
        return (index, detail, seen), (index2, detail2, seen2)


def join_nobody() -> Any:
    from gnomon.sdk.members import NOBODY

    return NOBODY


def agree(both: Both, items: list[Any], number: int) -> None:
    """Compare answer, reason, what was seen and the draws of noise."""
    before = both.slow_calls
    (index, detail, seen), (index2, detail2, seen2) = both.answers(items, number)
    assert (index, detail) == (index2, detail2)
    assert repr(seen) == repr(seen2)
    assert both.fused_noise.getstate() == both.stepped_noise.getstate()
    if both.slow_calls == before:
        assert detail == ""
        assert all(type(value) is float for row in seen for value in row)


@settings(max_examples=75)
@given(
    sources(),
    ROWS,
    st.sampled_from([WIDE, NARROW, HIGHEST]),
    st.sampled_from(list(READINGS)),
    st.sampled_from(list(RULES)),
    st.integers(1, 5),
)
def test_it_answers_as_the_steps_do(
    source: str, rows: list[tuple[float, ...]], of: Kind, reading: str, rules: str, size: int
) -> None:
    try:
        both = Both(of, source, READINGS[reading], RULES[rules])
    except LanguageError:
        return
    for at in range(0, len(rows) - size + 1, size):
        agree(both, rows[at : at + size], at + 1)


@given(st.lists(st.integers(0, 3), min_size=3, max_size=8), st.booleans())
def test_ties_go_to_the_lower_noise(values: list[int], highest: bool) -> None:
    source = "def score(a):\n    return a\n"
    both = Both(HIGHEST if highest else WIDE, source, READINGS["written out"], ())
    for number in range(1, 30):
        agree(both, [(value, 0, 0) for value in values], number)


ODD = [
    1,
    True,
    np.float64(2.5),
    np.int64(3),
    np.float32(0.1),
    10**400,
    "x",
    None,
    math.nan,
    -0.0,
    [1],
]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_values_of_other_types_become_floats_or_are_refused(odd: Any, reading: str) -> None:
    both = Both(WIDE, "def score(a, b):\n    return a * 2.0 + b\n", READINGS[reading], ())
    agree(both, [(1.0, 2.0, 3.0), (odd, 1, 2.0)], 5)


@pytest.mark.parametrize("items", [[], [(1.0, 2.0)], [(1.0, 2.0, 3.0, 4.0)], [(1.0, 2.0, 3.0)] * 2])
def test_another_number_of_items_or_features_is_found_out_in_steps(items: list[Any]) -> None:
    both = Both(WIDE, "def score(a):\n    return a\n", READINGS["called"], ())
    members = join(join_nobody(), [(1.0, 2.0, 3.0)], None, 0)
    both.begun = both.fused_noise.getstate()
    index, detail, _, _ = both.answering.of(1)(items, members, 3)
    assert (index, detail) == (-1, "features")
    assert both.slow_calls == 1


def test_what_the_service_s_own_functions_raise_is_raised() -> None:
    both = Both(WIDE, "def score(a):\n    return a\n", lambda item: (item.missing, 1.0, 2.0), ())
    members = join(join_nobody(), [object()], None, 0)
    both.begun = both.fused_noise.getstate()
    with pytest.raises(AttributeError, match="missing"):
        both.answering.of(1)([object()], members, 3)


def test_simple_rules_stand_in_the_function_and_see_later_values_of_globals() -> None:
    global LIMIT
    both = Both(
        WIDE, "def score(a):\n    return a\n", READINGS["written out"], RULES["of the pick"]
    )
    assert "_holds0" not in both.answering._space
    agree(both, [(2.0, 0.0, 1.0)], 1)
    assert both.slow_calls == 0
    LIMIT = 1.0
    try:
        agree(both, [(2.0, 0.0, 1.0)], 2)
        assert both.slow_calls == 1
    finally:
        LIMIT = 3.0


def test_a_policy_with_much_fuel_is_measured_every_time_and_another_once_in_64() -> None:
    short = Both(WIDE, "def score(a):\n    return a\n", READINGS["written out"], ())
    text = "def score(a):\n    x = 0\n    for i in range(200):\n        x = x + a\n    return x\n"
    long = Both(WIDE, text, READINGS["written out"], ())
    members = join(join_nobody(), [(1.0, 2.0, 3.0)], None, 0)
    short.begun = long.begun = Random(7).getstate()
    for both, measured in ((short, 2), (long, 128)):
        spent = [both.answering.of(1)([(1.0, 2.0, 3.0)], members, n)[3] for n in range(128)]
        assert sum(one >= 0 for one in spent) == measured


def test_after_a_slow_answer_the_next_ones_are_measured() -> None:
    both = Both(WIDE, "def score(a):\n    return a\n", READINGS["written out"], ())
    both.answering.of(1)
    assert both.answering.ready(1) is not both.slow
    both.fused.took(0, 3_000_000, 1)  # ns
    assert both.answering.ready(1) == both.slow
    for number in range(100):
        both.fused.took(0, 1, number)
    assert both.answering.ready(1) is both.answering.of(1)
    assert both.answering.ready(2) == both.slow  # not made yet
    assert both.answering.of(1000) == both.slow  # too many to be written out
