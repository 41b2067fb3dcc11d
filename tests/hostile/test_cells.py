"""What is stopped without a simulator: by the check, by the kernel, by a program's own limits."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.guard import Breaker
from gnomon.sdk.guard import Limits as BreakerLimits
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.isolation.status import Status
from gnomon.sdk.isolation.zygote import CandidateStopped
from gnomon.sdk.programs.guard import ProgramGuard
from gnomon.sdk.programs.questions import question_of

from ..programs.jobs import jobs, kind_of
from .attack import Attack
from .cells import JOBS, REMOVABLE, SECRET_VARIABLE, SECRETS, Cells, attacked
from .language_attacks import LANGUAGE
from .program_attacks import PROGRAM
from .raw_attacks import KERNEL, NOTHING_THERE, NPROC, RAW, REFUSED_ANYWAY


def _named(attack: Attack) -> str:
    return attack.name


@pytest.fixture(scope="module")
def ground() -> Iterator[Cells]:
    with Cells() as cells:
        yield cells


# the language check


@pytest.mark.parametrize("attack", LANGUAGE, ids=_named)
def test_the_check_refuses(ground: Cells, attack: Attack) -> None:
    outcome = ground.checked(attack)
    assert outcome.layer == attack.stopped_by, outcome


_DRIVER = "\ndef attack():\n    return '%r %r' % (float(score(1.0)), float(score(1.0)))\n"


def _left(how: str, told: str) -> str:
    """Return what stopped a source that nobody checked, from how its fork ended."""
    if how == "timeout" or told.startswith("MemoryError"):
        return "limits"
    denied = ("PermissionError", "ModuleNotFoundError", "RuntimeError: can't start", "OSError")
    if told.startswith((*denied, "ZeroDivisionError")):
        return "kernel"
    if how == "result":
        one, other = map(float, told.split())
        return "border" if one == other or math.isnan(one) else "determinism"
    return "border"


@pytest.mark.parametrize("attack", LANGUAGE, ids=_named)
def test_without_the_check_another_layer_is_left(ground: Cells, attack: Attack) -> None:
    """Run past the check, it gets two numbers at most: what a lockstep host is sent."""
    how, told = attacked(ground.raw(), attack.source + _DRIVER)
    found = _left(how, told)
    parser = (
        "deep nesting",
        "a list that doubles",
    )  # which of the two comes first is the machine's
    assert found in attack.also or attack.name in parser, (how, told)


# the kernel


@pytest.mark.parametrize("attack", RAW, ids=_named)
def test_a_program_past_the_check_gets_nothing(ground: Cells, attack: Attack) -> None:
    outcome = ground.locked_in(attack)
    assert (outcome.layer, outcome.loot) == (attack.stopped_by, ""), outcome


@pytest.mark.skipif(
    os.geteuid() != 0, reason="most layers of the kernel need root to be put in force"
)
@pytest.mark.parametrize("attack", KERNEL, ids=_named)
def test_each_layer_that_is_named_stops_it_alone_and_no_other_does(
    ground: Cells, attack: Attack
) -> None:
    alone = [layer for layer in REMOVABLE if not ground.locked_in(attack, only=(layer,)).success]
    without_any = ground.locked_in(attack, only=())
    if attack.name in REFUSED_ANYWAY and not without_any.success:
        assert {attack.stopped_by, *attack.also} <= {*alone}
    else:
        assert without_any.success
        assert alone == [attack.stopped_by, *attack.also]


@pytest.mark.skipif(
    os.geteuid() != 0, reason="without root a limit on processes stops some of them"
)
@pytest.mark.parametrize("name", sorted(NPROC))
def test_processes_are_not_stopped_by_a_limit_for_root(ground: Cells, name: str) -> None:
    """Which is why the allow-list has to leave them out."""
    attack = next(each for each in KERNEL if each.name == name)
    assert ground.locked_in(attack, only=("rlimits",)).success


@pytest.mark.parametrize(
    "attack", [each for each in NOTHING_THERE if "patch" not in each.name], ids=_named
)
def test_in_the_hosts_own_process_it_would_find_what_it_looks_for(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the tests above can fail."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRETS["HOSTILE_SECRET"][0])
    held = [{"HOSTILE_SECRET": [1]}, type("DecisionTrace", (), {})()]
    space: dict[str, Any] = {"FD": -1}
    exec(attack.source, space)  # noqa: S102 - the corpus is ours
    assert space["attack"]() and held


# programs


@pytest.mark.parametrize("attack", PROGRAM, ids=_named)
def test_a_program_is_stopped_where_it_should_be(ground: Cells, attack: Attack) -> None:
    outcome = ground.programmed(attack)
    assert (outcome.layer, outcome.loot) == (attack.stopped_by, ""), outcome


_LAVISH = kind_of(max_fuel=10**18, deadline_s=0.3)
assert _LAVISH.program is not None
_LAVISH = replace(_LAVISH, program=replace(_LAVISH.program, max_elements=10**15))


@pytest.fixture(scope="module")
def lavish() -> Iterator[Any]:
    with program_zygote(_LAVISH) as zygote:
        yield zygote


@pytest.mark.parametrize("attack", [each for each in PROGRAM if "limits" in each.also], ids=_named)
def test_without_fuel_deadline_and_memory_are_left(lavish: Any, attack: Attack) -> None:
    try:
        with ProgramProcess(lavish, attack.source, _LAVISH) as process:
            answer = process.ask(JOBS)
            assert not answer.ok  # it ran out of memory
    except CandidateStopped as stopped_:
        assert stopped_.status in (Status.TIMEOUT, Status.DIED)


@pytest.mark.parametrize("attack", [each for each in PROGRAM if "guard" in each.also], ids=_named)
def test_an_unlawful_program_is_stopped_in_the_service_too(attack: Attack) -> None:
    breaker = Breaker(BreakerLimits(), lambda reason: None)
    program = jobs.checked(attack.source)
    guard = ProgramGuard(program, jobs, jobs.invariants, breaker, "strict", lambda: 0)  # type: ignore[arg-type]
    try:
        guard.start()
        found = [guard.ask(question_of(jobs, JOBS)) for _ in range(3)]
    finally:
        guard.close()
    assert all(verdict.outputs is None for verdict in found)
    assert {verdict.detail for verdict in found} <= {
        "violation:in_range",
        "violation:declared_range",
    }
    assert breaker.reason


@pytest.mark.parametrize(
    "source",
    [
        "def score(inflight, inflight):\n    return 0.0\n",
        "def f(x, x):\n    return x\ndef score(inflight):\n    return f(inflight, inflight)\n",
    ],
)
def test_a_refusal_says_which_parameter_comes_twice(ground: Cells, source: str) -> None:
    said = ground.checked(Attack("", "score", "", source, "language")).said
    assert "is a parameter twice" in said


@pytest.mark.parametrize(
    "loop",
    [
        "    for i in range(3000):\n        inflight += 1.0\n",
        "    while inflight < 3000.0:\n        inflight += 1.0\n",
        "    for i in range(60):\n        for j in range(60):\n            inflight += 1.0\n",
        "    inflight += sum(i * 1.0 for i in range(3000))\n",
    ],
)
def test_a_loop_beyond_its_fuel_gives_no_number(loop: str) -> None:
    """As long as it takes a moment only: without the charge it would end, with a score."""
    program = load_balancer.checked(f"def score(inflight):\n{loop}    return inflight\n")
    assert math.isnan(program.bind()(1.0, 1.0, 1.0, 1.0, 0.5))
    assert "out of fuel" in program.fault(1.0, 1.0, 1.0, 1.0, 0.5)
