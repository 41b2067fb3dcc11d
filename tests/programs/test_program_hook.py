"""A service's function of program form: off, recorded, answered by a program, and never worse than its own."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.config import Settings
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.hook import hook, invariant
from gnomon.sdk.isolation.layers import STRICT_NEEDS, WEAK_LAYERS
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check_program
from gnomon.sdk.programs.hook import ProgramHook
from gnomon.sdk.programs.nursery import NURSERY
from gnomon.sdk.records import Decision, Outcome, Workload
from gnomon.sdk.runtime import RUNTIME

from .conftest import Kept
from .jobs import BEYOND, FAULTY, LAZY, LONGEST, SLOW, jobs, kind_of, measured

WORK = [3.0, 1.0, 2.0]
BY_LONGEST = [0, 1, 1]
MUCH = 1_000_000_000
#: Hungry: within the language and its count of elements, but not within 64 MB.
HUNGRY = """
def decide(work, machine):
    a = ones(400000)
    b = sort(a + a)
    c = concat(b, a)
    machine[0] = len(c) // len(c)
"""


def marked(kind: Kind = jobs, name: str = "jobs.assign", **more: Any) -> Any:
    """Return a decorated function that gives every job to the last machine."""

    @hook(name, kind=kind, item_features=lambda question: (len(question.work),), **more)
    def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    return assign


def install(marked: Any, source: str, phase: Any = "full", epoch: int = 1, **more: Any) -> Any:
    """Run a source as candidate; return the hook."""
    target: ProgramHook = marked.hook
    program: Any = check_program(source, target.kind.program)  # type: ignore[arg-type]
    digest = program.source_digest
    given = Assignment(epoch, phase, candidate=program, candidate_digest=digest, **more)
    target.install(given)
    return target


def accounted(target: ProgramHook) -> bool:
    c = target.counters
    kept = ("recorded", "skipped", "dropped", "failed", "raised", "followed")
    return c["decisions"] == sum(c[name] for name in kept)


def details(kept: Kept) -> list[str]:
    return [decision.detail for decision in kept.of(Decision)]


def test_it_is_the_function_itself_while_off() -> None:
    before = dict(RUNTIME.hooks)
    try:
        assign = marked()
        assert assign(WORK, machines=2) == [1, 1, 1]
        with assign.decide(WORK, 2) as decision:
            assert (decision.action, decision.id) == ([1, 1, 1], b"")
        assert assign.hook.counters["decisions"] == 0
    finally:
        RUNTIME.hooks.clear()
        RUNTIME.hooks.update(before)


def test_the_incumbent_is_recorded_with_its_outcome(kept: Kept) -> None:
    assign = marked()
    with assign.decide(WORK, 2) as decision:
        assert decision.action == [1, 1, 1]
        decision.outcome(imbalance=2.0)
    assign.event("load", total=6.0)
    assign.event("load", total="a", other=1.0)
    (made,), (outcome,) = kept.of(Decision), kept.of(Outcome)
    assert (made.arm, made.policy, made.n_items, made.features) == (
        "incumbent", "incumbent", 1, (3.0, 1.0, 0.0),
    )  # fmt: skip
    assert (outcome.seq, outcome.values) == (made.seq, (("imbalance", 2.0),))
    assert [event.event for event in kept.of(Workload)] == ["load"]
    assert assign.hook.counters["bad_events"] == 1
    assert accounted(assign.hook)


def test_a_program_answers_in_its_own_process(kept: Kept) -> None:
    assign = marked()
    install(assign, LONGEST)
    with assign.decide(WORK, 2) as decision:
        assert decision.action == BY_LONGEST
    assign.outcome(decision.id, imbalance=1.0)
    (made,) = kept.of(Decision)
    assert (made.arm, made.reason, made.detail, made.epoch) == ("candidate", "static", "", 1)
    assert made.policy == assign.hook.assignment.candidate_digest
    assert made.duration_ns > 0
    (outcome,) = kept.of(Outcome)
    assert outcome.arm == "candidate"


def test_a_kinds_host_operation_is_there(kept: Kept) -> None:
    assign = marked(measured, "jobs.measured")
    install(assign, "def decide(work, machine):\n    machine[:] = round(spread(work))\n")
    assert assign(WORK, 2) == [1, 1, 1]
    assert details(kept) == [""]


def test_arrays_of_any_kind_go_in_and_what_the_service_wants_comes_out(kept: Kept) -> None:
    np = pytest.importorskip("numpy")
    assign = marked(answer=np.array)
    install(assign, LONGEST)
    answer = assign(np.array(WORK), np.int64(2))
    assert isinstance(answer, np.ndarray)
    assert answer.tolist() == BY_LONGEST


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (FAULTY, "fault"),
        (BEYOND, "violation:in_range"),
        (SLOW, "timeout"),
        (HUNGRY, "fault"),
    ],
)
def test_whatever_is_wrong_with_a_program_the_incumbent_answers(
    source: str, detail: str, kept: Kept
) -> None:
    deadline_s = 0.15 if detail == "timeout" else 5.0
    assign = marked(kind_of(deadline_s=deadline_s, memory_mb=16, max_fuel=MUCH))
    target = install(assign, source)
    begin = time.monotonic()
    assert assign(WORK, 2) == [1, 1, 1]
    assert time.monotonic() - begin < deadline_s + 2.0
    (made,) = kept.of(Decision)
    assert (made.reason, made.detail, made.policy) == ("fallback", detail, "incumbent")
    assert target.counters["fallbacks"] == 1
    assert accounted(target)


def test_three_failures_take_a_program_back(kept: Kept) -> None:
    assign = marked()
    target = install(assign, BEYOND)
    for _ in range(5):
        assert assign(WORK, 2) == [1, 1, 1]
    assert target.breaker.startswith("candidate: 3 failures in 3 answers")
    assert details(kept) == ["violation:in_range"] * 3 + ["breaker"] * 2
    assert target.counters["breaker_trips"] == 1
    install(assign, BEYOND)  # the same epoch, as when a lease is renewed
    assert target.breaker
    install(assign, LONGEST, epoch=2)
    assert not target.breaker
    assert assign(WORK, 2) == BY_LONGEST


def test_what_the_contract_does_not_know_is_not_asked(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST)
    assert assign([1e9], 2) == [1]  # beyond its declared range
    assert assign([float("nan")], 2) == [1]
    assert assign([], 2) == []  # a shape that the contract does not know
    assert assign(["a"], 2) == [1]
    counters = target.counters
    assert (counters["unasked"], counters["failed"], counters["breaker_trips"]) == (2, 2, 0)
    assert details(kept) == ["features", "features"]
    assert accounted(target)


def test_a_killed_process_is_replaced_at_the_next_call(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    process = target._arms.candidate._process  # type: ignore[union-attr]
    signal.pidfd_send_signal(process._fork._handle, signal.SIGKILL)
    assert assign(WORK, 2) == [1, 1, 1]
    assert assign(WORK, 2) == BY_LONGEST
    assert details(kept) == ["", "fault", ""]


def test_a_hook_says_which_layers_hold_around_its_programs(kept: Kept) -> None:
    assign = marked()
    assert assign.hook.layers == ()
    target = install(assign, LONGEST)
    assert set(STRICT_NEEDS) <= set(target.layers)
    target.off()
    assert target.layers == ()


def test_a_clean_process_that_was_killed_is_replaced_too(kept: Kept) -> None:
    assign = marked()
    install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    zygote = NURSERY.zygote(jobs, "strict")
    os.kill(zygote.pid, signal.SIGKILL)
    assert zygote.ended(5.0)
    assert assign(WORK, 2) in ([1, 1, 1], BY_LONGEST)  # its fork may outlive it for a moment
    assert assign(WORK, 2) == BY_LONGEST


def test_a_process_that_takes_long_to_start_is_not_waited_for(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnomon.sdk.programs import guard

    class Slow:
        def zygote(self, kind: Kind, mode: Any) -> Any:
            time.sleep(1.2)
            return nursery.zygote(kind, mode)

    nursery = guard.NURSERY
    monkeypatch.setattr(guard, "NURSERY", Slow())
    monkeypatch.setattr(guard, "_PATIENCE_S", 0.0)
    assign = marked(kind_of(deadline_s=0.3))
    target = install(assign, LONGEST)
    begin = time.monotonic()
    assert assign(WORK, 2) == [1, 1, 1]
    assert time.monotonic() - begin < 1.0
    assert details(kept) == ["timeout"]
    end = time.monotonic() + 120.0
    while target._arms.candidate._process is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert assign(WORK, 2) == BY_LONGEST


def test_isolation_that_cannot_be_had_is_said_and_the_incumbent_answers(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gnomon.sdk.errors import IsolationError
    from gnomon.sdk.programs import guard

    class Without:
        def zygote(self, kind: Kind, mode: Any) -> Any:
            raise IsolationError("no seccomp here")

    monkeypatch.setattr(guard, "NURSERY", Without())
    assign = marked()
    install(assign, LONGEST)
    assert "cannot start: no seccomp here" in caplog.text
    assert assign(WORK, 2) == [1, 1, 1]
    assert details(kept) == ["fault"]


def test_a_kill_during_a_call_gives_the_incumbents_answer_at_once(kept: Kept) -> None:
    assign = marked(kind_of(deadline_s=20.0, max_fuel=MUCH))
    target = install(assign, SLOW)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(assign(WORK, 2)))
    caller.start()
    time.sleep(0.1)
    target.install(Assignment(epoch=2, phase="killed"))
    caller.join(2.0)
    assert answers == [[1, 1, 1]]
    assert details(kept) == ["withdrawn"]
    assert not target.breaker


def test_blocks_of_a_canary_alternate(kept: Kept) -> None:
    assign = marked()
    blocks = Switchback(b"salt", "default", 40_000_000, 0, 0, 0.5)
    install(assign, LONGEST, "canary", switchback=blocks)
    for _ in range(40):
        assign(WORK, 2)
        time.sleep(0.005)
    made = kept.of(Decision)
    assert {each.arm for each in made} == {"stable", "candidate"}
    for each in made:
        assert blocks.candidate(each.block) == (each.arm == "candidate")
        assert each.block == blocks.block(each.time_ns) or each.time_ns % 40_000_000 < 5_000_000


def test_a_candidate_is_computed_beside_without_effect(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST, "shadow", shadow_rate=1.0)
    assert [assign(WORK, 2) for _ in range(3)] == [[1, 1, 1]] * 3
    kept.of(Decision)
    counters = target.counters
    assert counters["shadow_decisions"] >= 1
    assert counters["shadow_decisions"] + counters["shadow_shed"] == 3
    assert counters["shadow_diverged"] == counters["shadow_decisions"]
    assert counters["fallbacks"] == 0


def test_the_same_answer_is_no_divergence(kept: Kept) -> None:
    assign = marked()
    source = "def decide(machines, machine):\n    machine[:] = machines - 1\n"
    target = install(assign, source, "shadow", shadow_rate=1.0)
    assign(WORK, 2)
    kept.of(Decision)
    assert (target.counters["shadow_decisions"], target.counters["shadow_diverged"]) == (1, 0)


def test_a_lease_that_ran_out_runs_stable(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST, lease_until_ns=time.monotonic_ns() - 1)
    assert assign(WORK, 2) == [1, 1, 1]
    kept.of(Decision)
    assert target.counters["stale"] == 1


def test_an_invariant_of_the_service_blocks(kept: Kept) -> None:
    assign = marked()

    @invariant(assign)
    def spread_out(question: Any, answer: Any) -> bool:
        return len(set(answer.machine)) > 1 or question.machines == 1

    install(assign, LAZY)
    assert assign(WORK, 2) == [1, 1, 1]
    assert details(kept) == ["violation:spread_out"]


def test_an_asynchronous_function_leaves_the_loop_alone(kept: Kept) -> None:
    @hook(
        "jobs.async",
        kind=kind_of(deadline_s=0.3, max_fuel=MUCH),
        item_features=lambda q: (len(q.work),),
    )
    async def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    install(assign, SLOW)

    async def main() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        beside = asyncio.create_task(tick())
        async with assign.decide(WORK, 2) as decision:
            pass
        beside.cancel()
        return decision.action, ticks

    answer, ticks = asyncio.run(main())
    assert answer == [1, 1, 1]
    assert ticks > 5
    assert details(kept) == ["timeout"]


def asynchronous(deadline_s: float = 0.3) -> Any:
    slow = kind_of(deadline_s=deadline_s, max_fuel=MUCH)

    @hook("jobs.async", kind=slow, item_features=lambda question: (len(question.work),))
    async def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    return assign


def test_a_service_whose_threads_are_all_busy_does_not_hold_a_call_up(kept: Kept) -> None:
    assign = asynchronous()
    install(assign, LONGEST)
    free = threading.Event()

    async def main() -> tuple[list[int], float]:
        loop = asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, free.wait, 10.0) for _ in range(64)]
        begin = time.monotonic()
        answer = await assign(WORK, 2)
        took = time.monotonic() - begin
        free.set()
        await asyncio.gather(*busy)
        return answer, took

    answer, took = asyncio.run(main())
    assert answer == BY_LONGEST
    assert took < 5.0
    assert details(kept) == [""]


def test_many_calls_at_once_of_a_program_that_hangs_are_all_answered_in_time(kept: Kept) -> None:
    assign = asynchronous(0.2)
    install(assign, SLOW)

    async def main() -> tuple[list[list[int]], float]:
        begin = time.monotonic()
        answers = await asyncio.gather(*(assign(WORK, 2) for _ in range(60)))
        return answers, time.monotonic() - begin

    answers, took = asyncio.run(main())
    assert answers == [[1, 1, 1]] * 60
    assert took < 3.0  # one after the other they would take twelve seconds
    assert {*details(kept)} <= {"timeout", "withdrawn", "breaker"}
    assert assign.hook.breaker
    assert accounted(assign.hook)


def test_a_cancelled_call_that_was_not_begun_asks_nobody(kept: Kept) -> None:
    assign = asynchronous(0.5)
    install(assign, SLOW)

    async def main() -> None:
        calls = [asyncio.ensure_future(assign(WORK, 2)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in calls)

    asyncio.run(main())
    until = time.monotonic() + 120.0
    while not accounted(assign.hook) and time.monotonic() < until:
        time.sleep(0.01)  # what was begun goes on, on threads of its own
    assert 1 <= assign.hook.counters["decisions"] == assign.hook.counters["raised"] <= 8


def test_a_forked_child_waits_on_threads_of_its_own(kept: Kept) -> None:
    assign = asynchronous(2.0)
    install(assign, LONGEST)
    assert asyncio.run(assign(WORK, 2)) == BY_LONGEST
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(assign(WORK, 2)) == BY_LONGEST else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_has_a_program_of_its_own(kept: Kept) -> None:
    assign = marked()
    install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if assign(WORK, 2) == BY_LONGEST else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert assign(WORK, 2) == BY_LONGEST  # the child left the parent's process alone


def test_methods_and_an_own_reading_of_the_call(kept: Kept) -> None:
    class Pool:
        @hook(
            "jobs.method",
            kind=jobs,
            question=lambda tasks, pool: (tasks, len(pool), [0] * len(tasks)),
            item_features=lambda question: (len(question.work),),
            outcome=lambda answer: {"imbalance": 1.0},
        )
        def assign(self, tasks: Any, pool: Any) -> list[int]:
            return [0] * len(tasks)

    install(Pool.assign, LONGEST)
    assert Pool().assign(WORK, pool=["a", "b"]) == BY_LONGEST
    assert len(kept.of(Outcome)) == 1
    assert Pool.assign.hook.has_outcomes


def test_an_incumbent_that_raises_still_raises(kept: Kept) -> None:
    @hook("jobs.raises", kind=jobs, item_features=lambda question: (1,))
    def assign(work: Any, machines: int) -> list[int]:
        raise LookupError("no machines")

    with pytest.raises(LookupError, match="no machines"):
        assign(WORK, 2)
    assert assign.hook.counters["raised"] == 1
    assert accounted(assign.hook)


def _by_one_name(work: Any, machines: int, tasks: Any = ()) -> list[int]:
    return [0]


def _without_machines(work: Any) -> list[int]:
    return [0]


@pytest.mark.parametrize(
    ("arguments", "function", "said"),
    [
        ({"items": "work"}, _by_one_name, "items= is for kinds of score form"),
        ({"explore": 0.1}, _by_one_name, "explore= is for kinds of score form"),
        ({"redact": str}, _by_one_name, "redact= is for kinds of score form"),
        ({"group": 3}, _by_one_name, "group=3 is no group; give an object with rank and size"),
        (
            {"group": SimpleNamespace(rank=2, size=2, broadcast=max, agree=max)},
            _by_one_name,
            "no group",
        ),
        ({"group": SimpleNamespace(rank=0, size=2, agree=max)}, _by_one_name, "no group"),
        ({"item_features": None}, _by_one_name, "records jobs of a question; give item_features="),
        ({}, _without_machines, "is asked with machines, no parameter of the function"),
        ({"question": lambda other: other}, _by_one_name, "question= takes other"),
        ({"answer": 3}, _by_one_name, "answer= must be callable"),
    ],
)
def test_a_hook_that_cannot_work_is_refused(
    arguments: dict[str, Any], function: Callable[..., Any], said: str
) -> None:
    given = {"item_features": lambda question: (1,)} | arguments
    with pytest.raises(ConfigurationError, match=said):
        hook("jobs.wrong", kind=jobs, **given)(function)


def test_a_host_operation_that_nobody_else_can_find_is_refused() -> None:
    from gnomon.sdk.isolation.program import program_zygote

    from .jobs import SPREAD

    def here(values: Any) -> float:
        return 0.0

    with pytest.raises(ConfigurationError, match="cannot be imported by name"):
        program_zygote(kind_of(operations=(SPREAD,), host={"spread": here}))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the hooks of a test."""
    before = dict(RUNTIME.hooks)
    yield
    RUNTIME.hooks.clear()
    RUNTIME.hooks.update(before)


def test_the_weaker_mode_serves_too(kept: Kept) -> None:

    RUNTIME.configure(Settings(flush_interval_s=60.0, isolation="process"), (kept,))
    assign = marked()
    target = install(assign, LONGEST)
    assert assign(WORK, 2) == BY_LONGEST
    process = target._arms.candidate._process
    assert process.layers == target.layers == WEAK_LAYERS
    with pytest.raises(ConfigurationError, match="isolation is 'none'"):
        Settings(isolation="none")


def test_a_program_withdrawn_while_it_starts_leaves_no_process(kept: Kept) -> None:
    assign = marked()
    target = install(assign, LONGEST)
    guard = target._arms.candidate
    target.install(Assignment(epoch=2))
    assert guard is not None
    guard.start()
    assert guard._process is None or guard._process._fork._handle < 0
    assert assign(WORK, 2) == [1, 1, 1]


def test_what_is_no_numbers_back_is_the_incumbents(kept: Kept) -> None:
    def unhappy(rows: Any) -> Any:
        raise RuntimeError("no room on the device")

    assign = marked(answer=unhappy)
    install(assign, LONGEST)
    assert assign(WORK, 2) == [1, 1, 1]
    assert details(kept) == ["fault"]


def test_whatever_happens_around_it_every_call_is_answered(kept: Kept) -> None:
    assign = marked(kind_of(max_fuel=MUCH, deadline_s=0.2))
    target = install(assign, LONGEST)
    seen: list[Any] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                seen.append(assign(WORK, 2))
            except BaseException as error:  # noqa: BLE001 - nothing may come out
                seen.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    draw = random.Random(5)
    for epoch in range(2, 26):
        source = draw.choice((LONGEST, LONGEST, BEYOND, FAULTY, SLOW))
        install(assign, source, epoch=epoch)
        time.sleep(draw.uniform(0.0, 0.06))
        guard = target._arms.candidate
        process = guard._process if guard is not None else None
        if process is not None and draw.random() < 0.5:
            process.end()  # as somebody who kills it from outside
        if draw.random() < 0.3:
            target.install(Assignment(epoch=epoch, phase="killed"))
        target.kill("an operator's order" if draw.random() < 0.3 else "")
    target.kill("")
    install(assign, LONGEST, epoch=99)
    stop.set()
    for caller in callers:
        caller.join(10.0)
    assert [each for each in seen if each not in ([1, 1, 1], BY_LONGEST)] == []
    assert assign(WORK, 2) == BY_LONGEST
    kept.of(Decision)
    assert accounted(target)
    assert {[1, 1, 1] == each for each in seen} == {True, False}
