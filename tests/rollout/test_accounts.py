"""Entries about many processes: few, complete, and at a bounded rate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.accounts import ACKED_NS, COUNTED_NS, LEFT_NS, Accounts
from gnomon.policies.rollout.desk import Seat
from gnomon.policies.rollout.store import Happened

SECOND = 1_000_000_000
HOOK = "router.pick"
RUNS = {"phase": "canary", "stable": "incumbent", "candidate": "c" * 64, "weight": 0.5}


def seats(count: int) -> list[Seat]:
    return [Seat("router", f"{index:016x}", f"cell-{index % 2}") for index in range(count)]


def instances(happened: Happened) -> set[str]:
    cells = [cell for each in happened.body["processes"].values() for cell in each.values()]
    return {instance for cell in cells for instance in cell}


def test_a_thousand_processes_make_one_entry_per_epoch() -> None:
    accounts, known = Accounts(), seats(1000)
    for offset, seat in enumerate(known):
        accounts.acked(HOOK, seat, 7, RUNS, 5 * SECOND + offset)
    assert accounts.due(5 * SECOND + ACKED_NS - 1) == []
    (entry,) = accounts.due(5 * SECOND + ACKED_NS)
    assert (entry.kind, entry.subject, entry.body["epoch"]) == ("delivery.acknowledged", HOOK, 7)
    assert (entry.body["runs"], entry.body["count"]) == (RUNS, 1000)
    assert (entry.body["from_ns"], entry.body["to_ns"]) == (5 * SECOND, 5 * SECOND + 999)
    assert instances(entry) == {seat.instance for seat in known}
    assert set(entry.body["processes"]["router"]) == {"cell-0", "cell-1"}
    for seat in known:  # a renewal of the lease
        accounts.acked(HOOK, seat, 7, RUNS, 10 * SECOND)
    assert accounts.due(10**18) == []


def test_who_comes_back_soon_has_not_left() -> None:
    accounts, (seat, other) = Accounts(), seats(2)
    for each in (seat, other):
        accounts.acked(HOOK, each, 1, RUNS, 0)
    accounts.due(ACKED_NS)
    for each in (seat, other):
        accounts.gone(HOOK, each, 2 * SECOND)
    accounts.acked(HOOK, seat, 1, RUNS, 3 * SECOND)
    assert accounts.due(2 * SECOND + LEFT_NS - 1) == []
    (left,) = accounts.due(2 * SECOND + LEFT_NS)
    assert (left.kind, instances(left)) == ("delivery.left", {other.instance})
    assert left.body["from_ns"] == 2 * SECOND
    accounts.acked(HOOK, other, 1, RUNS, 60 * SECOND)  # the same epoch, but it had left
    (back,) = accounts.due(61 * SECOND)
    assert instances(back) == {other.instance}


def test_all_is_written_before_a_stop() -> None:
    accounts, (seat,) = Accounts(), seats(1)
    accounts.new(HOOK, seat.instance)
    accounts.acked(HOOK, seat, 1, RUNS, 1)
    accounts.counted(HOOK, seat.instance, {"decisions": 9, "faults": 1}, 1)
    accounts.gone(HOOK, seat, 1)
    kinds = [entry.kind for entry in accounts.due(1, all_of_it=True)]
    assert kinds == ["delivery.acknowledged", "delivery.left", "invariant.counted"]


def counted(entries: list[Happened]) -> list[dict[str, Any]]:
    return [entry.body for entry in entries if entry.kind == "invariant.counted"]


def test_what_failed_is_counted_and_what_passed_stands_beside_it() -> None:
    accounts, (seat, other) = Accounts(), seats(2)
    for each in (seat, other):
        accounts.new(HOOK, each.instance)
        accounts.acked(HOOK, each, 1, RUNS, 1)
        accounts.counted(HOOK, each.instance, {"decisions": 100}, 1)
    assert counted(accounts.due(1 + COUNTED_NS)) == []
    accounts.counted(HOOK, seat.instance, {"decisions": 150, "broken.spread": 3, "slow": 8}, 2)
    (body,) = counted(accounts.due(1 + 2 * COUNTED_NS))
    assert body["decisions"] == 250  # since the beginning, of both
    assert body["failed"] == {"broken.spread": 3}
    assert body["processes"] == [seat.instance]
    assert (body["from_ns"], body["to_ns"]) == (1, 1 + 2 * COUNTED_NS)
    assert counted(accounts.due(1 + 3 * COUNTED_NS)) == []


def test_of_a_process_of_an_earlier_life_only_the_growth_counts() -> None:
    accounts, (seat,) = Accounts(), seats(1)
    accounts.counted(HOOK, seat.instance, {"faults": 40}, 1)
    accounts.counted(HOOK, seat.instance, {"faults": 42}, 2)
    (body,) = counted(accounts.due(1, all_of_it=True))
    assert body["failed"] == {"faults": 2}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 90), st.booleans()),
        max_size=60,
    )
)
def test_no_failure_is_lost_or_counted_twice(
    reports: list[tuple[int, int, int, bool]],
) -> None:
    """Whatever the order of reports, restarts aside, the entries sum to what was counted."""
    accounts, known, now = Accounts(), seats(4), 1
    totals = [0] * 4
    entries: list[Happened] = []
    for seat in known:
        accounts.new(HOOK, seat.instance)
    for process, faults, seconds, gone in reports:
        now += seconds * SECOND
        totals[process] += faults
        seat = known[process]
        accounts.acked(HOOK, seat, 1, RUNS, now)
        accounts.counted(HOOK, seat.instance, {"faults": totals[process]}, now)
        if gone:
            accounts.gone(HOOK, seat, now)
        entries += accounts.due(now)
    entries += accounts.due(now, all_of_it=True)
    written = counted(entries)
    assert sum(body["failed"]["faults"] for body in written) == sum(totals)
    times = [body["to_ns"] for body in written[:-1]]
    assert all(later - earlier >= COUNTED_NS for earlier, later in pairwise(times))


def test_the_control_plane_writes_who_runs_what(world: Any) -> None:
    world.ship()
    for process in world.processes:
        process.counters["faults"] = 2
        world.control.report(process.instance, process.report())
    world.clock.pass_s(1.0)
    world.control.tick()
    (acked,) = world.ledger.list(kind="delivery.acknowledged")
    created = world.ledger.list(kind="rollout.created")[0].body
    assert acked.body["runs"]["candidate"] == created["candidate"]
    assert acked.body["runs"]["phase"] == "shadow"
    assert acked.body["processes"] == {"router": {"a": ["aa", "bb"]}}
    assert (created["lease_ns"], len(created["manifests_signed_by"])) == (15 * SECOND, 64)
    world.clock.pass_s(61.0)
    world.control.gone("bb")
    world.control.stopping()
    assert world.ledger.list(kind="delivery.left")[0].body["count"] == 1
    assert world.ledger.list(kind="invariant.counted")[0].body["failed"] == {"faults": 4}
    assert world.ledger.verify().ok


def test_who_is_there_again_has_not_left_even_if_it_refuses_what_it_is_sent(world: Any) -> None:
    world.ship()
    world.clock.pass_s(5.0)
    world.control.tick()
    for process in world.processes:
        world.control.gone(process.instance)
    hello = world.processes[0].session.hello().hello
    world.control.hello(hello.node, hello.hooks)  # and no acknowledgement follows
    world.clock.pass_s(LEFT_NS / SECOND)
    world.control.tick()
    (left,) = world.ledger.list(kind="delivery.left")
    assert left.body["processes"] == {"router": {"a": ["bb"]}}
