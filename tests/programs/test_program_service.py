"""What a service does around its calls of a program: it interrupts, cancels, forks, ends, and is configured anew."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gnomon.sdk.config import Settings
from gnomon.sdk.hook import hook
from gnomon.sdk.kind import Kind
from gnomon.sdk.programs.nursery import NURSERY
from gnomon.sdk.records import Decision, Workload
from gnomon.sdk.runtime import RUNTIME

from .conftest import Kept
from .jobs import LONGEST, SLOW, jobs, kind_of
from .test_program_hook import BY_LONGEST, MUCH, WORK, accounted, details, install, marked

#: For long jobs it takes long, and gives another answer than for others.
PONDERING = """
def decide(work, machine):
    total = 0.0
    if work[0] > 50.0:
        for i in range(5000):
            for j in range(1000):
                total += 1.0
    machine[:] = 1 if work[0] > 50.0 else 0
"""


def test_no_decision_has_the_number_of_an_earlier_one(kept: Kept) -> None:
    """Else an outcome that comes late would be another decision's."""
    assign = marked()
    assign.event("load", total=1.0)
    with assign.decide(WORK, 2) as first:
        pass
    kept.of(Decision)
    RUNTIME.configure(Settings(flush_interval_s=60.0, seed=1), (kept,))
    assign.event("load", total=2.0)
    with assign.decide(WORK, 2) as second:
        pass
    assert first.id != second.id
    assert [event.seq for event in kept.of(Workload)] == [0, 1]
    assert assign.hook.counters["decisions"] == 1
    assign.outcome(first.id, imbalance=9.0)
    kept.of(Decision)
    assert assign.hook.counters["unknown_outcomes"] == 1
    assert accounted(assign.hook)


def test_an_event_that_is_not_recorded_leaves_a_gap(kept: Kept) -> None:
    """A window that is missing must not pass unseen, however far apart windows are."""
    RUNTIME.configure(Settings(flush_interval_s=60.0, seed=1, ring_size=2), (kept,))
    assign = marked()
    for total in range(4):
        assign.event("load", total=total)  # there is room for two
    kept.of(Workload)
    assign.event("load", total=4)
    assert [event.seq for event in kept.of(Workload)] == [0, 1, 4]
    assert assign.hook.counters["events_dropped"] == 2
    settings = Settings(flush_interval_s=60.0, seed=1, sample=0.0)
    RUNTIME.configure(settings, (kept,))
    assign.event("load", total=5)
    RUNTIME.configure(Settings(flush_interval_s=60.0, seed=1), (kept,))
    assign.event("load", total=6)
    assert [event.seq for event in kept.of(Workload)] == [0, 1, 4, 6]


def test_what_can_be_read_only_once_is_left_to_the_function(kept: Kept) -> None:
    @hook("jobs.once", kind=jobs, item_features=lambda question: (1,))
    def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1 for _ in work]

    install(assign, LONGEST)
    assert assign(iter(WORK), 2) == [1, 1, 1]
    assert assign.hook.counters["failed"] == 1
    assert accounted(assign.hook)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_told_to_end_with_all_its_processes_still_answers(
    kept: Kept, ending: signal.Signals
) -> None:
    """As systemd tells every process of a service, which then finishes what it has begun."""
    assign = marked()
    install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    clean = NURSERY.zygote(jobs, "strict")
    children = Path(f"/proc/{clean.pid}/task/{clean.pid}/children").read_text().split()
    for process in (clean.pid, *map(int, children)):
        os.kill(process, ending)
    time.sleep(0.05)
    assert assign(WORK, 2) == BY_LONGEST
    assert details(kept) == ["", ""]


def test_questions_that_nobody_has_looked_at_yet_are_few(kept: Kept) -> None:
    """A drainer that stands still must not make a service hold every question's arrays."""
    assign = marked()
    target = install(assign, LONGEST, "shadow", shadow_rate=1.0)
    for _ in range(2):
        for _ in range(100):
            assign(WORK, 2)
        waiting = [beside for _, beside, _ in target.recording._ring.items]
        assert (len(waiting), sum(each is not None for each in waiting)) == (100, 64)
        kept.of(Decision)
    counters = target.counters
    assert counters["recorded"] == counters["shadow_decisions"] + counters["shadow_shed"] == 200


def test_a_call_that_the_service_interrupts_leaves_no_answer_for_the_next(kept: Kept) -> None:
    class OutOfTime(Exception):
        """As a limit of time that a signal's handler raises."""

    def ended(*_: Any) -> None:
        raise OutOfTime

    assign = marked(kind_of(max_fuel=MUCH, deadline_s=20.0))
    install(assign, PONDERING)
    assert assign(WORK, 3) == [0, 0, 0]
    before = signal.signal(signal.SIGALRM, ended)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(OutOfTime):
            assign([60.0, 1.0, 2.0], 3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert assign(WORK, 3) == [0, 0, 0]
    assert details(kept) == ["", ""]
    assert assign.hook.counters["raised"] == 1
    assert accounted(assign.hook)


def test_a_call_that_is_cancelled_while_it_waits_is_counted(kept: Kept) -> None:
    kind = kind_of(max_fuel=MUCH, deadline_s=0.5)

    @hook("jobs.cancelled", kind=kind, item_features=lambda question: (1,))
    async def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(assign(WORK, 2), 0.1)
        while assign.hook.counters["raised"] == 0:
            await asyncio.sleep(0.01)

    install(assign, SLOW)
    asyncio.run(asyncio.wait_for(main(), 20.0))
    assert accounted(assign.hook)


def test_without_threads_the_incumbent_answers(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assign = marked()
    assert assign(WORK, 2) == [1, 1, 1]

    def none(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        install(assign, LONGEST)
        assert assign(WORK, 2) == [1, 1, 1]
    assert assign(WORK, 2) == BY_LONGEST
    assert details(kept) == ["", "fault", ""]


def test_a_process_that_grew_old_is_replaced_before_it_ends(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    assign = marked()
    target = install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    guard: Any = target._arms.candidate
    first = guard._process
    monkeypatch.setattr(first._fork, "_ends", time.monotonic() - 1.0)  # a week later
    assert assign(WORK, 2) == BY_LONGEST
    assert guard._process is not first
    assert details(kept) == ["", ""]


def test_a_fork_amid_a_start_can_switch_its_hooks_off(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST)
    guard: Any = target._arms.candidate
    with guard._state:  # as the thread that makes the process holds it
        child = os.fork()
        if child == 0:
            os._exit(0 if assign(WORK, 2) == BY_LONGEST else 2)
    until = time.monotonic() + 120.0
    found = (0, 0)
    while found == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
        found = os.waitpid(child, os.WNOHANG)
    if found == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert found == (child, 0)


def test_an_exit_does_not_wait_for_a_process_that_is_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gnomon.sdk.programs import nursery

    started, go_on = threading.Event(), threading.Event()

    def slow(kind: Kind, mode: str) -> Any:
        started.set()
        go_on.wait(20.0)
        raise OSError("too late")

    monkeypatch.setattr(nursery, "program_zygote", slow)
    monkeypatch.setattr(nursery, "_PATIENCE_S", 0.1)
    own = nursery.Nursery()
    starting = threading.Thread(target=lambda: pytest.raises(OSError, own.zygote, jobs, "strict"))
    starting.start()
    assert started.wait(10.0)
    begin = time.monotonic()
    own.close()
    assert time.monotonic() - begin < 10.0
    go_on.set()
    starting.join(10.0)
