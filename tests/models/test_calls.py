"""Attempts, waits and the one deadline, with a clock of the test's own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.models.calls import Caller
from gnomon.shadow.models.chat import Answer, Failure, Request, refused, seconds_after
from gnomon.shadow.models.prices import CHARGED

REQUEST = Request("m", "compatible", (("user", "hello"),), None, 100, 0, "http://h/v1")
GOOD = Answer("text", 1, 1, "stop")


@dataclass
class Fake:
    """A model and a clock: each attempt takes some seconds and ends as told; the last repeats."""

    steps: list[tuple[float, Answer | Failure]]
    now: float = 0.0
    asked: list[tuple[float, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def answer(self, request: Request, seconds: float) -> Answer:
        takes, what = self.steps[min(len(self.asked), len(self.steps) - 1)]
        self.asked.append((self.now, seconds))
        self.now += min(takes, seconds)
        if takes > seconds:
            raise Failure("no answer in time", again=True, charged=True)
        if isinstance(what, Failure):
            raise what
        return what

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def call(self, seconds: float = 100.0, seed: int = 0):
        return Caller(self, lambda: self.now, self.sleep).call(
            REQUEST, seconds, random.Random(seed)
        )


def test_an_answer_at_once_is_one_attempt() -> None:
    fake = Fake([(1.0, GOOD)])
    result = fake.call()
    assert (result.answer, result.attempts, result.doubtful) == (GOOD, 1, 0)
    assert fake.waits == []


def test_too_many_requests_wait_as_long_as_is_asked() -> None:
    fake = Fake([(0.1, refused(429, "slow down", 7.0)), (0.1, GOOD)])
    result = fake.call()
    assert (result.answer, result.attempts, result.doubtful) == (GOOD, 2, 0)
    assert 7.0 <= fake.waits[0] <= 7.7


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    fake = Fake([(0.1, refused(429, "come tomorrow", 86_400.0))])
    result = fake.call()
    assert result.answer is None
    assert "come tomorrow" in result.error
    assert "given up" in result.error
    assert (fake.waits, fake.now) == ([], 0.1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_asking_again_cannot_help_is_asked_once(status: int) -> None:
    fake = Fake([(0.1, refused(status, "no")), (0.1, GOOD)])
    result = fake.call()
    assert (result.error, result.attempts, result.doubtful) == (f"HTTP {status}: no", 1, 0)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_a_busy_server_is_asked_again_and_not_believed_to_charge(status: int) -> None:
    fake = Fake([(0.1, refused(status, "busy"))] * 3 + [(0.1, GOOD)])
    result = fake.call()
    assert (result.answer, result.attempts, result.doubtful) == (GOOD, 4, 0)


def test_nothing_is_waited_for_after_the_last_attempt() -> None:
    fake = Fake([(0.1, refused(500, "busy"))])
    result = fake.call(3600.0)
    assert "given up after 6 attempts" in result.error
    assert (result.attempts, len(fake.asked), len(fake.waits)) == (6, 6, 5)


def test_one_that_hangs_leaves_time_for_another_attempt() -> None:
    fake = Fake([(10_000.0, GOOD), (1.0, GOOD)])
    result = fake.call(90.0)
    assert (result.answer, result.attempts, result.doubtful) == (GOOD, 2, 1)
    assert fake.asked[0][1] == pytest.approx(60.0)


def test_attempts_that_may_be_charged_are_no_more_than_the_reserve_counts() -> None:
    fake = Fake([(1.0, Failure("cut", again=True, charged=True))])
    result = fake.call()
    assert (result.attempts, result.doubtful) == (CHARGED, CHARGED)


outcomes = st.one_of(
    st.just(GOOD),
    st.builds(
        lambda again, charged, after: Failure("x", again=again, charged=charged, after=after),
        st.booleans(),
        st.booleans(),
        st.none() | st.floats(0.0, 1e4),
    ),
)


@given(
    st.lists(st.tuples(st.floats(0.0, 500.0), outcomes), min_size=1, max_size=15),
    st.floats(1.0, 300.0),
    st.integers(0, 2**32),
)
def test_no_call_outlives_its_deadline_nor_charges_beyond_its_reserve(
    steps: list[tuple[float, Answer | Failure]], seconds: float, seed: int
) -> None:
    fake = Fake(steps)
    result = fake.call(seconds, seed)
    assert fake.now <= seconds * (1 + 1e-9)
    assert result.doubtful + (result.answer is not None) <= CHARGED
    assert result.attempts == len(fake.asked)
    assert (result.answer is None) == bool(result.error)
    assert all(given > 0.0 for _, given in fake.asked)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("-5", 0.0),
        ("2.5", 2.5),
        ("inf", float("inf")),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert seconds_after(value, 40.0) == expected
