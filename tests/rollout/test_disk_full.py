"""What a full disk keeps the store from taking has not happened; found by the simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from gnomon.sdk.errors import RolloutError
from gnomon.v1 import policy_pb2

Full = Callable[[Any, str], AbstractContextManager[None]]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    """Makes one of the store's writes fail for a while."""

    @contextmanager
    def full(world: Any, write: str) -> Iterator[None]:
        def refused(*args: Any, **kwargs: Any) -> None:
            raise RolloutError(f"{write}: the store cannot be written")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, write, refused)
            yield

    return full


def told(world: Any) -> list[tuple[str, str]]:
    entries = world.ledger.list(kind="rollout.transition")
    return [(entry.body["from"], entry.body["to"]) for entry in entries]


def made(world: Any) -> list[tuple[str, str]]:
    return [(one.before.value, one.after.value) for one in world.control.get().transitions]


@pytest.mark.parametrize("order", ["hold", "abort", "kill", "promote"])
def test_an_order_that_is_not_stored_changes_nothing(world: Any, full: Full, order: str) -> None:
    rollout = world.ship()
    world.run(20, lambda arm, block: 50.0, until="CANARY")
    before, epoch = world.control.get(), world.control.epoch(hook_of(world))
    with full(world, "save"), pytest.raises(RolloutError):
        world.control.act(rollout, order, "op", "drill", "q1")
    assert (world.control.get(), world.control.epoch(hook_of(world))) == (before, epoch)
    assert world.processes[0].policy.guard.epoch == epoch
    after = world.control.act(rollout, order, "op", "drill", "q1")
    assert after.transitions[:-1] == before.transitions
    assert (told(world) == made(world)) or order == "promote"  # an override is told as one
    world.restart()
    assert world.control.get() == after


def hook_of(world: Any) -> str:
    hook: str = world.control.get().plan.hook
    return hook


def test_a_step_that_is_not_stored_is_made_later(world: Any, full: Full) -> None:
    world.ship()
    world.run(1, lambda arm, block: 50.0)
    with full(world, "save"), pytest.raises(RolloutError):
        world.run(20, lambda arm, block: 50.0, until="CANARY")
    assert (world.status, world.processes[0].manifest.phase) == ("SHADOW", policy_pb2.PHASE_SHADOW)
    world.run(5, lambda arm, block: 50.0, until="CANARY")
    assert world.status == "CANARY"
    assert told(world) == made(world)


def test_a_plan_that_is_not_stored_leaves_the_one_in_force(world: Any, full: Full) -> None:
    """Else the stable policy's manifest would come with the new plan, which no process takes."""
    rollout = world.ship()
    world.control.act(rollout, "abort", "op", "drill", "")
    epoch = world.control.epoch(hook_of(world))
    with full(world, "save"), pytest.raises(RolloutError):
        world.ship()
    late = world.join("cc")
    assert late.policy.guard.epoch == epoch
    assert late.policy.guard.current.plan.id == rollout
    assert world.control.get().plan.id == rollout
    assert world.control.get(world.ship()).status.value == "SHADOW"


def test_a_lifted_epoch_that_is_not_stored_is_lifted_again(world: Any, full: Full) -> None:
    world.ship()
    hook = hook_of(world)
    process = world.processes[0]
    hello = process.session.hello().hello
    hello.hooks[0].epoch = 40
    with full(world, "save"), pytest.raises(RolloutError):
        world.control.hello(hello.node, hello.hooks)
    assert world.control.epoch(hook) < 40
    world.control.hello(hello.node, hello.hooks)
    assert world.control.epoch(hook) == 41
    assert world.store.epochs()[hook] == 41


def test_a_kill_by_hand_is_told_once_it_can_be(world: Any, full: Full) -> None:
    world.ship()
    process = world.processes[0]
    process.killed = "burning"
    with full(world, "note"), pytest.raises(RolloutError):
        world.control.report("aa", process.report())
    assert not world.ledger.list(kind="delivery.killed")
    for _ in range(2):
        world.control.report("aa", process.report())
    assert len(world.ledger.list(kind="delivery.killed")) == 1
