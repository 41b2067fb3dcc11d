"""Programs that were stopped, or taken back: whatever happens, the function answers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.config import Settings
from gnomon.sdk.hook import hook, invariant
from gnomon.sdk.language import check_program
from gnomon.sdk.limits import Limits
from gnomon.sdk.programs.guard import ProgramGuard
from gnomon.sdk.records import Decision
from gnomon.sdk.runtime import RUNTIME

from .conftest import Kept
from .jobs import FAULTY, LONGEST, SLOW, jobs, kind_of
from .test_group import SIZE, Meeting, Rank, in_threads
from .test_program_hook import (
    BY_LONGEST,
    MUCH,
    WORK,
    accounted,
    asynchronous,
    details,
    install,
    marked,
)

BY_FUNCTION = [1, 1, 1]


@pytest.fixture(autouse=True)
def lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    gnomon.unkill()


def guard_of(assign: Any) -> ProgramGuard:
    found: ProgramGuard = assign.hook._arms.candidate
    return found


def test_the_function_decides_from_the_next_call_on_and_its_process_ends(kept: Kept) -> None:
    assign = marked()
    install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    process = guard_of(assign)._process
    assert process is not None
    gnomon.kill(assign, reason="x")
    assert assign(WORK, 2) == BY_FUNCTION
    assert guard_of(assign)._process is None
    install(assign, LONGEST, epoch=2)  # a manifest that comes meanwhile starts nothing
    assert assign(WORK, 2) == BY_FUNCTION
    assert guard_of(assign)._process is None
    gnomon.unkill(assign)
    assert assign(WORK, 2) == BY_LONGEST
    assert details(kept) == ["", "killed", "killed", ""]
    assert assign.hook.counters["killed"] == 2
    assert accounted(assign.hook)


def test_a_call_that_waits_is_answered_at_once(kept: Kept) -> None:
    assign = marked(kind_of(deadline_s=30.0, max_fuel=MUCH))
    install(assign, SLOW)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(assign(WORK, 2)))
    waiting.start()
    time.sleep(0.2)
    begin = time.monotonic()
    gnomon.kill(reason="x")
    waiting.join(10.0)
    assert time.monotonic() - begin < 2.0
    assert found == [BY_FUNCTION]
    assert details(kept) == ["withdrawn"]
    assert assign.hook.breaker == ""


def test_an_asynchronous_call_that_waits_is_answered_at_once(kept: Kept) -> None:
    slow = kind_of(deadline_s=30.0, max_fuel=MUCH)

    @hook("jobs.async", kind=slow, item_features=lambda question: (len(question.work),))
    async def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    install(assign, SLOW)

    async def both() -> Any:
        call = asyncio.ensure_future(assign(WORK, 2))  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(gnomon.kill, reason="x")
        return await asyncio.wait_for(call, 5.0)

    assert asyncio.run(both()) == BY_FUNCTION


def test_asynchronous_calls_that_wait_for_a_thread_are_answered_at_once_too(kept: Kept) -> None:
    assign = asynchronous(30.0)
    install(assign, SLOW)

    async def all_of_them() -> tuple[list[Any], float]:
        calls = [asyncio.ensure_future(assign(WORK, 2)) for _ in range(30)]
        await asyncio.sleep(0.2)
        begin = time.monotonic()
        gnomon.kill(reason="x")
        return await asyncio.gather(*calls), time.monotonic() - begin

    answers, took = asyncio.run(all_of_them())
    assert answers == [BY_FUNCTION] * 30
    assert took < 5.0
    assert {*details(kept)} == {"withdrawn", "killed"}
    assert accounted(assign.hook) and assign.hook.breaker == ""


def test_a_killed_rank_has_all_of_its_group_fall_back(kept: Kept) -> None:
    meeting = Meeting()
    names = [f"group.{i}" for i in range(SIZE)]
    ranks = [marked(jobs, name, group=Rank(meeting, i)) for i, name in enumerate(names)]
    assert jobs.program is not None
    program: Any = check_program(LONGEST, jobs.program)
    for rank in ranks:
        rank.hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    gnomon.kill(names[-1], reason="x")
    answers = in_threads([lambda rank=rank: rank(WORK, 2) for rank in ranks])
    assert answers == [BY_FUNCTION] * SIZE
    (made,) = kept.of(Decision)
    assert made.detail == "collective"


def test_live_shadow_asks_nobody(kept: Kept) -> None:
    assign = marked()
    install(assign, LONGEST, phase="shadow", shadow_rate=1.0)
    assign(WORK, 2)
    gnomon.kill(reason="x")
    assign(WORK, 2)
    assert details(kept) == ["", "killed"]
    counters = assign.hook.counters
    assert (counters["shadow_decisions"], counters["shadow_shed"]) == (0, 1)
    assert counters["shadow_faults"] == counters["shadow_violations"] == 0


def taken_back(assign: Any) -> str:
    install(assign, FAULTY)
    for _ in range(5):
        assert assign(WORK, 2) == BY_FUNCTION
    reason: str = assign.hook.breaker
    assert reason == "candidate: 3 failures in 3 answers, last: fault"
    return reason


def test_a_breaker_holds_over_a_kill_an_invariant_a_fork_and_configure(kept: Kept) -> None:
    assign = marked()
    reason = taken_back(assign)
    gnomon.kill(assign, reason="x")
    gnomon.unkill(assign)
    assert (assign(WORK, 2), assign.hook.breaker) == (BY_FUNCTION, reason)
    invariant(assign, name="any")(lambda question, answer: True)
    assert (assign(WORK, 2), assign.hook.breaker) == (BY_FUNCTION, reason)
    child = os.fork()
    if child == 0:
        held = assign(WORK, 2) == BY_FUNCTION and assign.hook.breaker == reason
        os._exit(0 if held else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    RUNTIME.configure(Settings(flush_interval_s=60.0), (kept,))
    assert (assign(WORK, 2), assign.hook.breaker) == (BY_FUNCTION, reason)
    assert set(details(kept)[3:]) == {"breaker"}
    install(assign, LONGEST, epoch=2)
    assert (assign(WORK, 2), assign.hook.breaker) == (BY_LONGEST, "")


def test_its_own_limits_count(kept: Kept) -> None:
    assign = marked(limits=Limits(faults=1))
    install(assign, FAULTY)
    assign(WORK, 2)
    assert assign.hook.breaker == "candidate: 1 failures in 1 answers, last: fault"
