"""The index against its definition and its false alarms; notices that come, go, and have consequences."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout import codec
from gnomon.policies.rollout.events import Act, Reverified, Seen, Tick
from gnomon.policies.rollout.machine import step
from gnomon.policies.rollout.states import RUNNING, State, Status, draft
from gnomon.policies.rollout.upkeep import (
    LEAST_COUNT,
    Reference,
    Terms,
    Watch,
    added,
    begun,
    grown,
    looked,
    stability_index,
)
from gnomon.sdk.errors import RolloutError

from .test_machine import PLAN, START

HOUR = 3_600_000_000_000
TERMS = Terms(90 * 24 * HOUR, 0.25, 24 * HOUR, "incumbent", HOUR, 2)
TENTHS = (0.1,) * 10
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


@given(counts, st.data())
def test_the_index_is_the_published_one_less_what_chance_adds(
    now: list[int], data: st.DataObject
) -> None:
    then = data.draw(st.lists(st.integers(0, 10_000), min_size=len(now), max_size=len(now)))
    n, m, k = sum(now), sum(then), len(now)
    shares = [each / m for each in then] if m else [1 / k] * k
    found = stability_index(now, shares, m)
    if not n or not m:
        assert found == 0.0
        return
    a = (np.array(now) + 0.5) / (n + 0.5 * k)
    b = (np.array(then) + 0.5) / (m + 0.5 * k)
    kullback = float(
        np.sum(a * np.log(a / b)) + np.sum(b * np.log(b / a))
    )  # PSI is Jeffreys' divergence
    assert found == pytest.approx(max(0.0, kullback - (k - 1) * (1 / n + 1 / m)), abs=1e-9)


def test_no_drift_raises_no_alarm_and_a_shift_of_one_deviation_is_found() -> None:
    rng = np.random.default_rng(5)
    edges = np.quantile(rng.normal(size=5_000), np.arange(1, 10) / 10)
    reference = rng.normal(size=5_000)
    shares = np.bincount(np.searchsorted(edges, reference), minlength=10) / 5_000

    def index(shift: float) -> float:
        window = rng.normal(shift, size=LEAST_COUNT)
        binned = np.bincount(np.searchsorted(edges, window), minlength=10)
        return stability_index(binned.tolist(), shares.tolist(), 5_000)

    quiet = np.array([index(0.0) for _ in range(2_000)])
    assert (quiet > 0.1).mean() <= 0.01
    assert not (quiet > 0.25).any()
    assert 0.0 <= quiet.mean() < 0.02  # what chance adds is taken off
    assert min(index(1.0) for _ in range(200)) > 0.25


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=3))
def test_what_grew_and_what_was_there_add_up(pairs: list[tuple[list[int], list[int]]]) -> None:
    before = tuple(tuple(one[:2]) for one, _ in pairs)
    more = tuple(tuple(other[:2]) for _, other in pairs)
    after = added(before, more)
    assert grown(before, after) == more
    back = grown(after, before)
    assert (back is None) == any(n for each in more for n in each)


def watch(now: int = START, terms: Terms = TERMS) -> Watch:
    return begun(Watch("c" * 64, terms, (Reference("load", TENTHS, 10_000),), "e" * 64), now)


def windows(found: Watch, *seen: tuple[int, ...]) -> Watch:
    """Let one window after the other pass."""
    for each in seen:
        found = looked(found, (each,), found.opened_ns + TERMS.window_ns)
    return found


SAME, MOVED = (50,) * 10, (0,) * 8 + (100, 400)
EARLY = (120, 120, 60, 50, 50, 30, 30, 20, 10, 10)  # what this policy itself makes of the traffic


def test_drift_needs_several_windows_in_a_row() -> None:
    once = windows(watch(), SAME, MOVED, SAME, MOVED)
    assert (once.over, once.notice) == (1, None)
    twice = windows(once, MOVED)
    assert twice.notice is not None
    assert twice.notice.cause == "drifted"
    assert "index of load" in twice.notice.text
    assert twice.notice.due_ns == twice.notice.time_ns + TERMS.grace_ns


def test_what_the_policy_itself_changes_and_what_the_trace_held_are_no_drift() -> None:
    assert windows(watch(), EARLY, EARLY, EARLY, EARLY).notice is None
    assert windows(watch(), EARLY, SAME, SAME, SAME).notice is None
    assert windows(watch(), EARLY, MOVED, MOVED).notice is not None


def test_a_notice_of_drift_is_lifted_when_the_traffic_comes_back() -> None:
    noticed = windows(watch(), SAME, MOVED, MOVED)
    assert windows(noticed, MOVED, MOVED).notice == noticed.notice
    back = windows(noticed, MOVED, SAME)
    assert (back.notice, back.over) == (None, 0)
    assert windows(back, MOVED).notice is None
    assert windows(back, MOVED, MOVED).notice is not None


def test_silence_is_neither_drift_nor_calm() -> None:
    few = (LEAST_COUNT - 1,) + (0,) * 9
    quiet = windows(watch(), SAME)
    for hour in range(1, 50):
        quiet = looked(quiet, (), quiet.opened_ns + hour * HOUR)
    assert (quiet.over, quiet.calm, quiet.notice) == (0, 1, None)
    assert looked(quiet, (few,), quiet.opened_ns + 60 * HOUR).calm == 1
    noticed = windows(watch(), SAME, MOVED, MOVED)
    assert looked(noticed, (), noticed.opened_ns + 9 * HOUR).notice == noticed.notice


def test_without_a_profile_or_a_limit_only_age_is_watched() -> None:
    bare = replace(watch(), profile=())
    assert "no profile" in bare.unwatched
    unasked = watch(terms=replace(TERMS, drift_limit=0.0))
    assert "does not ask" in unasked.unwatched
    for each in (bare, unasked):
        found = looked(each, (), START + TERMS.expires_ns)
        assert found.notice is not None
        assert (found.notice.cause, found.indices) == ("expired", ())


def test_a_clock_that_ran_ahead_and_is_set_back_leaves_no_notice() -> None:
    ahead = looked(watch(), (), START + 2 * TERMS.expires_ns)
    assert ahead.notice is not None
    back = looked(ahead, (), START + HOUR)
    assert back.notice is None
    early = looked(watch(), (SAME,), START - HOUR)
    assert (early.since_ns, early.opened_ns) == (START - HOUR, START - HOUR)
    assert windows(early, SAME).first == ((100,) * 10,)


def promoted(terms: Terms = TERMS, status: Status = Status.STABLE) -> State:
    plan = replace(PLAN, upkeep=terms)
    state = draft(plan, b"s" * 16, START, (watch(terms=terms),))
    return replace(state, status=status)


def test_the_rule_follows_the_grace_and_nothing_else() -> None:
    noticed = step(promoted(), Tick(), START + TERMS.expires_ns)
    assert noticed.status is Status.STABLE
    assert noticed.watch is not None
    assert noticed.watch.notice is not None
    due = noticed.watch.notice.due_ns
    assert step(noticed, Tick(), due - 1) == noticed
    back = step(noticed, Tick(), due)
    assert (back.status, back.stable, back.watch) == (Status.ABORTED, "incumbent", None)
    assert back.transitions[-1].cause.startswith("expired: ")
    assert step(back, Tick(), due + 1) is back
    with pytest.raises(RolloutError, match="lapsed"):
        step(back, Act("retry", "op", "", b"x" * 16), due + 2)
    keeping = step(promoted(replace(TERMS, then="keep")), Tick(), START + TERMS.expires_ns)
    assert step(keeping, Tick(), due + TERMS.expires_ns) == keeping


def test_a_fresh_verdict_begins_anew() -> None:
    noticed = step(promoted(), Tick(), START + TERMS.expires_ns)
    now = START + TERMS.expires_ns + HOUR
    fresh = step(noticed, Reverified(((Reference("load", TENTHS, 9),)), "f" * 64, now, "ci"), now)
    assert fresh.watch is not None
    assert (fresh.watch.notice, fresh.watch.since_ns) == (None, now)
    assert (fresh.watch.evidence, fresh.watch.profile[0].count) == ("f" * 64, 9)
    assert step(fresh, Tick(), now + TERMS.expires_ns - 1).watch == fresh.watch


@pytest.mark.parametrize("status", [Status.HOLD, Status.ABORTED])
def test_the_policy_before_is_looked_after_when_a_later_rollout_has_ended(status: Status) -> None:
    former = replace(watch(), digest="b" * 64)
    plan = replace(PLAN, stable="b" * 64, upkeep=TERMS)
    state = draft(plan, b"s" * 16, START, (Watch("c" * 64, TERMS), former))
    running = replace(state, status=Status.SHADOW)
    assert step(running, Tick(), START + 1).watches == running.watches
    ended = replace(state, status=status)
    noticed = step(ended, Tick(), START + TERMS.expires_ns)
    assert noticed.watch is not None
    assert noticed.watch.notice is not None
    back = step(noticed, Tick(), noticed.watch.notice.due_ns)
    assert (back.status, back.stable, back.weight) == (Status.ABORTED, "incumbent", 0.0)


def test_while_a_rollout_runs_nothing_is_counted_or_withdrawn() -> None:
    for status in RUNNING:
        state = replace(promoted(status=status), watches=(watch(),))
        after = step(state, Seen((MOVED,)), START + 2 * TERMS.expires_ns)
        assert after.watches == state.watches


@given(st.lists(st.sampled_from([SAME, MOVED, EARLY]), max_size=8), st.booleans())
def test_a_state_survives_its_store(seen: list[tuple[int, ...]], expired: bool) -> None:
    state = promoted()
    for hour, each in enumerate(seen, 1):
        state = step(state, Seen((each,)), START + hour * HOUR)
    if expired:
        state = step(state, Tick(), START + TERMS.expires_ns)
    stored = json.loads(json.dumps(codec.to_json(state), allow_nan=False))
    assert codec.from_json(state.plan, stored).watches == state.watches
    for key in ("watches", "withdrawn"):  # as earlier versions have stored it
        del stored[key]
    assert codec.from_json(state.plan, stored).watches == ()


def test_an_index_never_says_that_nothing_is_infinitely_far() -> None:
    assert math.isfinite(stability_index((0, 500), (1.0, 0.0), 500))
    assert stability_index((0, 500), (1.0, 0.0), 500) > 5.0
