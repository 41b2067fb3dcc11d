"""Models that give nothing of use are left alone, and asked again now and then."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.models.breaker import OPENS_AFTER, Breaker, silence
from gnomon.shadow.search.records import Outcome, Record


def record(step: int, outcome: Outcome, author: str = "a", reason: str = "HTTP 500") -> Record:
    return Record(step, "p", "k", "", "write:full", (), 0, outcome, reason=reason, author=author)


def opened(author: str = "a", others: tuple[str, ...] = ()) -> Breaker:
    breaker = Breaker((author, *others))
    for step in range(OPENS_AFTER):
        assert breaker.allows(step)
        breaker.asked(step, author)
        breaker.learn(record(step, Outcome.UNANSWERED, author))
    return breaker


def test_it_opens_after_so_many_in_a_row_and_says_so() -> None:
    breaker = opened()
    assert not breaker.allows(OPENS_AFTER)
    assert "HTTP 500" in breaker.told
    assert "keyless search goes on" in breaker.told


def test_one_answer_in_between_starts_the_count_anew() -> None:
    breaker = Breaker("a")
    for step in range(10 * OPENS_AFTER):
        bad = step % OPENS_AFTER < OPENS_AFTER - 1
        breaker.learn(record(step, Outcome.UNANSWERED if bad else Outcome.INVALID))
    assert breaker.allows(1000)
    assert breaker.told == ""


def test_others_of_the_ensemble_go_on() -> None:
    breaker = opened("a", ("b",))
    assert breaker.allowed(OPENS_AFTER) == ("b",)
    assert "others go on" in breaker.told


def test_what_others_do_says_nothing_of_a_model() -> None:
    breaker = Breaker("a")
    for step in range(50):
        breaker.learn(record(step, Outcome.UNANSWERED, "person"))
    assert breaker.allows(50)


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = opened()
    probe = next(step for step in range(1000) if breaker.allows(step))
    breaker.asked(probe, "a")
    assert not breaker.allows(probe + 1)  # one at a time
    breaker.learn(record(probe, Outcome.OK))
    assert breaker.allows(probe + 1)
    assert breaker.told == ""


def test_probes_that_fail_grow_rarer_up_to_a_limit() -> None:
    breaker, probes = opened(), []
    for step in range(OPENS_AFTER, 3000):
        if breaker.allows(step):
            probes.append(step)
            breaker.asked(step, "a")
            breaker.learn(record(step, Outcome.UNANSWERED))
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == gaps[-2] == 256


outcomes = st.sampled_from([Outcome.UNANSWERED, Outcome.OK, Outcome.INVALID])


@given(st.lists(outcomes, max_size=200), st.integers(1, 8))
def test_what_a_breaker_allows_is_a_function_of_the_records(
    results: list[Outcome], window: int
) -> None:
    """It is asked and told as a search does, twice, with results known so many steps later."""

    def run() -> list[int]:
        breaker, asked = Breaker("a"), []
        for step in range(len(results) + window):
            known = step - window
            if known in asked:
                breaker.learn(record(known, results[known]))
            if step < len(results) and breaker.allows(step):
                breaker.asked(step, "a")
                asked.append(step)
        return asked

    first = run()
    assert first == run()
    unusable = all(outcome is Outcome.UNANSWERED for outcome in results)
    if unusable:  # a dead model: the first few, those under way, and a probe now and then
        assert len(first) <= OPENS_AFTER + window + len(results) / 16


def test_a_run_that_is_over_is_told_of_from_its_log() -> None:
    records = [record(step, Outcome.UNANSWERED) for step in range(OPENS_AFTER)]
    assert "a since step 4" in silence(["a"], records)
    assert silence(["a"], records[1:]) == ""
