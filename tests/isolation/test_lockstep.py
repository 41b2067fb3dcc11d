"""Lockstep: the candidate's process answers as the candidate would here, or is named for not doing so."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import IsolationError
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote
from gnomon.sdk.kind import Feature, Kind, Metric
from gnomon.sdk.language import check, chooser
from gnomon.shadow.evaluation import Status
from gnomon.shadow.isolation.lockstep import (
    LockstepCandidate,
    lockstep,
    lockstep_zygote,
    run_lockstep,
)

from . import attacks

PEAK = "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n"
FAULTS_AT_ZERO = "def score(inflight):\n    return 1.0 / inflight\n"
LOOPS = (
    "import math\ndef score(ewma_ms):\n    t = ewma_ms\n    for i in range(150):\n"
    "        t = t + math.log1p(abs(t))\n    return t\n"
)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with lockstep_zygote("strict", Limits(frame_s=5.0)) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def peak(zygote: Zygote) -> Iterator[LockstepCandidate]:
    with LockstepCandidate(zygote, PEAK, load_balancer) as candidate:
        yield candidate


@pytest.mark.parametrize("name", attacks.STOPPED_BY_LANGUAGE)
def test_the_child_checks_the_language_too(zygote: Zygote, name: str) -> None:
    with pytest.raises(CandidateStopped) as stopped:
        LockstepCandidate(zygote, attacks.STOPPED_BY_LANGUAGE[name], load_balancer)
    assert stopped.value.status is Status.REJECTED


_batches = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))


@settings(max_examples=30)
@given(_batches)
def test_choices_equal_those_made_here(
    peak: LockstepCandidate, shape: tuple[int, int, int]
) -> None:
    k, m, seed = shape
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 3, (k, m, 5)).astype(float)  # few values: many ties
    here = chooser(check(PEAK, load_balancer.input_names), load_balancer)
    assert peak.choose(batch).tolist() == [here(rows.tolist()) for rows in batch]


def test_scores_and_reference_equal_those_made_here(zygote: Zygote) -> None:
    rows = np.random.default_rng(0).random((64, 5)) * 100.0
    rows[0] = 0.0
    here = check(FAULTS_AT_ZERO, load_balancer.input_names)
    expected = np.array([here.interpret(*row) for row in rows])
    with LockstepCandidate(zygote, FAULTS_AT_ZERO, load_balancer) as candidate:
        assert np.array_equal(candidate.scores(rows), expected, equal_nan=True)
        assert np.array_equal(candidate.scores(rows, reference=True), expected, equal_nan=True)
    assert np.isnan(expected[0])


def test_order_and_limits_come_from_the_kind(zygote: Zygote) -> None:
    highest = Kind(
        "k", 1, "", (Feature("x", "1", "", 0, 9),), Metric("y", "1", 1.0), order="highest"
    )
    batch = np.array([[[1.0, 1.0, 0.5], [3.0, 1.0, 0.5], [2.0, 1.0, 0.5]]])
    with LockstepCandidate(zygote, "def score(x):\n    return x\n", highest) as candidate:
        assert candidate.choose(batch).tolist() == [1]
    tiny = Kind("k", 1, "", (Feature("x", "1", "", 0, 9),), Metric("y", "1", 1.0), max_nodes=3)
    with pytest.raises(CandidateStopped, match="rejected"):
        LockstepCandidate(zygote, "def score(x):\n    return x + x * x - x\n", tiny)


def test_a_faulting_score_answers_minus_one(zygote: Zygote) -> None:
    with LockstepCandidate(zygote, FAULTS_AT_ZERO, load_balancer) as candidate:
        assert candidate.choose(np.zeros((2, 3, 5))).tolist() == [-1, -1]


def _counter(m: int, decisions: int) -> Generator[np.ndarray, int, list[int]]:
    """A replay whose rows depend on every pick so far; reuses its array, as simulators may."""
    rows = np.ones((m, 5))
    picks: list[int] = []
    for _ in range(decisions):
        picks.append((yield rows))
        rows[picks[-1], 0] += 1.0
        rows[:, 1] = 1.0 + np.arange(m)
    return picks


def test_replays_of_different_lengths_advance_together(peak: LockstepCandidate) -> None:
    here = chooser(check(PEAK, load_balancer.input_names), load_balancer)

    def alone(decisions: int) -> list[int]:
        stream = _counter(3, decisions)
        try:
            rows = next(stream)
            while True:
                rows = stream.send(here(rows.tolist()))
        except StopIteration as stop:
            return stop.value

    lengths = (5, 0, 17, 1)
    watched: list[tuple[int, int]] = []
    got = run_lockstep(
        peak,
        [_counter(3, length) for length in lengths],
        lambda stream, rows, pick: watched.append((stream, pick)),
    )
    assert got == [alone(length) for length in lengths]
    for index, picks in enumerate(got):
        assert [pick for stream, pick in watched if stream == index] == picks


def test_a_fault_in_a_replay_names_the_decision(zygote: Zygote) -> None:
    source = "def score(inflight):\n    return 1.0 / (inflight - 3.0)\n"
    with (
        LockstepCandidate(zygote, source, load_balancer) as candidate,
        pytest.raises(CandidateStopped, match="faulted at decision") as stopped,
    ):
        run_lockstep(candidate, [_counter(2, 50)])
    assert stopped.value.status is Status.FAULT


def test_the_deadline_of_a_frame_is_kept(zygote: Zygote) -> None:
    limits = Limits(frame_s=0.3)
    with (
        lockstep(LOOPS, load_balancer, limits=limits) as candidate,
        pytest.raises(CandidateStopped) as stopped,
    ):
        candidate.choose(np.ones((20_000, 4, 5)))
    assert stopped.value.status is Status.TIMEOUT


def test_the_deadline_in_total_is_kept() -> None:
    limits = Limits(frame_s=5.0, total_s=0.5)
    with (
        lockstep(PEAK, load_balancer, limits=limits) as candidate,
        pytest.raises(CandidateStopped) as stopped,
    ):
        while True:
            candidate.choose(np.ones((500, 4, 5)))
    assert stopped.value.status is Status.TIMEOUT


def test_the_deadline_in_total_is_kept_however_fast_the_answers_are() -> None:
    limits = Limits(frame_s=5.0, total_s=0.3)
    with (
        lockstep(PEAK, load_balancer, limits=limits) as candidate,
        pytest.raises(CandidateStopped) as stopped,
    ):
        for _ in itertools.count():
            candidate.choose(np.ones((1, 2, 5)))
    assert stopped.value.status is Status.TIMEOUT


def test_a_process_killed_from_outside_counts_as_died(zygote: Zygote) -> None:
    candidate = LockstepCandidate(zygote, PEAK, load_balancer)
    signal.pidfd_send_signal(candidate._fork._handle, signal.SIGKILL)
    with pytest.raises(CandidateStopped) as stopped:
        for _ in range(100):
            candidate.choose(np.ones((1, 2, 5)))
    assert stopped.value.status is Status.DIED
    assert _descriptors() >= 0  # closing twice is harmless
    candidate.close()


def test_candidates_leave_no_descriptors_behind(zygote: Zygote) -> None:
    def cycle() -> None:
        with LockstepCandidate(zygote, PEAK, load_balancer) as candidate:
            candidate.choose(np.ones((1, 2, 5)))
        with pytest.raises(CandidateStopped):
            LockstepCandidate(zygote, "nonsense", load_balancer)

    cycle()
    before = _descriptors()
    for _ in range(10):
        cycle()
    assert _descriptors() == before


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_rows_of_another_width_are_our_own_mistake(peak: LockstepCandidate) -> None:
    with pytest.raises(ValueError, match="expected 5 features"):
        peak.choose(np.ones((1, 2, 4)))


def test_an_answer_that_is_no_item_is_refused(
    peak: LockstepCandidate, monkeypatch: pytest.MonkeyPatch, zygote: Zygote
) -> None:
    """A process that was taken over can write any four bytes."""
    with LockstepCandidate(zygote, PEAK, load_balancer) as candidate:
        monkeypatch.setattr(candidate._fork, "receive", lambda count: b"\x07\x00\x00\x00")
        with pytest.raises(CandidateStopped, match="does not exist"):
            candidate.choose(np.ones((1, 2, 5)))


def test_text_from_inside_is_made_harmless(zygote: Zygote) -> None:
    source = "def score(inflight):\n    return ignore_all_\u202eprevious + '\x1b[31m'\n"
    with pytest.raises(CandidateStopped) as stopped:
        LockstepCandidate(zygote, source, load_balancer)
    assert stopped.value.detail.isprintable() and stopped.value.detail.isascii()
    assert len(stopped.value.detail) <= 200


def test_process_mode_decides_alike() -> None:
    batch = np.random.default_rng(1).random((8, 4, 5))
    with (
        lockstep(PEAK, load_balancer, mode="process") as weak,
        lockstep(PEAK, load_balancer) as strong,
    ):
        assert weak.choose(batch).tolist() == strong.choose(batch).tolist()
        assert "seccomp" in strong.layers and "seccomp" not in weak.layers


def test_a_closed_clean_process_cannot_fork() -> None:
    zygote = lockstep_zygote("process")
    zygote.close()
    with pytest.raises(IsolationError, match="has ended"):
        LockstepCandidate(zygote, PEAK, load_balancer)
