"""The history checker: a safe history passes, and every property notices its own violation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from .events import (
    Acked,
    Answered,
    Counted,
    Decided,
    Entry,
    Event,
    Installed,
    Moved,
    Nacked,
    Ordered,
    Planned,
    Published,
    Restarted,
    Restored,
    Settled,
    Signed,
    Trusted,
)
from .history import check

S = 1_000_000_000
HOOK, LEASE = "router.pick", 15 * S
PLAN = Planned(0, "control", HOOK, "r-1", "incumbent", "c1", (0.1, 0.5, 1.0), LEASE, 500 * S)
TRIAL = Published(
    1 * S, "control", HOOK, "r-1", 2, "m2", "incumbent", "c1", "canary", 0.1, False, 1 * S
)
KILL = replace(
    TRIAL,
    time_ns=20 * S,
    epoch=3,
    content="m3",
    candidate="",
    phase="stable",
    weight=0.0,
    kill=True,
    issued_ns=20 * S,
)
MOVES = (("DRAFT", "SHADOW", "created"), ("SHADOW", "ABORTED", "q1"))
KILLING = [Ordered(19 * S, "op", "q1", "r-1", "kill"), Answered(20 * S, "op", "q1", True)]


def installed(manifest: Published, at: int, process: str = "aa") -> list[Event]:
    return [
        Installed(at, process, HOOK, manifest.epoch, manifest.content),
        Acked(at, process, HOOK, manifest.epoch),
    ]


def tried(at: int, process: str = "aa", epoch: int = 2, digest: str = "c1") -> Decided:
    return Decided(at, process, HOOK, epoch, "candidate", digest)


def entries(moves: tuple[tuple[str, str, str], ...] = MOVES) -> list[Entry]:
    hashes = ["00" * 32, *(f"h{i}" for i in range(len(moves)))]
    return [
        Entry(99 * S, "control", i, hashes[i - 1], hashes[i], "rollout.transition", "r-1", i, *move)
        for i, move in enumerate(moves, 1)
    ]


BEGUN = [PLAN, TRIAL, *installed(TRIAL, 2 * S)]
END: list[Event] = [Settled(99 * S, "control", "r-1", MOVES), *entries()]
SAFE: list[Event] = [
    *BEGUN,
    tried(3 * S),
    Decided(4 * S, "aa", HOOK, 2, "stable", "incumbent"),
    Nacked(5 * S, "bb", HOOK, 2, "no"),
    Restarted(6 * S, "bb"),
    *KILLING[:1],
    KILL,
    Moved(20 * S, "op", "r-1", 1, *MOVES[1]),
    *KILLING[1:],
    *installed(KILL, 21 * S),
    Decided(22 * S, "aa", HOOK, 3, "incumbent", "incumbent"),
    *END,
]


def test_a_safe_history_passes() -> None:
    assert check(SAFE) == []
    assert check([]) == []


UNPLANNED = replace(TRIAL, rollout="r-9")
HEAVY = replace(TRIAL, epoch=4, content="m4", weight=0.3)
LATER = replace(TRIAL, epoch=4, content="m4", weight=0.5, time_ns=25 * S, issued_ns=25 * S)
RENEWED = [
    event
    for at in range(12, 480, 10)
    for event in (
        replace(TRIAL, time_ns=at * S, issued_ns=at * S, content=f"r{at}"),
        Installed(at * S, "aa", HOOK, 2, f"r{at}"),
    )
]
VOUCHED = replace(TRIAL, plan_by=("k1",), by="r1")
PINNED: list[Event] = [
    Signed(0, "publisher", "c1", "k1"),
    Trusted(0, "control", ("k1",)),
    Trusted(0, "aa", ("k1",)),
    PLAN,
]
PLANTED: dict[str, tuple[str, list[Event]]] = {
    "a trial is published after its plan ended": (
        "expired",
        [PLAN, replace(TRIAL, time_ns=600 * S, issued_ns=600 * S)],
    ),
    "blocks of an earlier attempt count": (
        "evidence",
        [*BEGUN, Counted(90 * S, "control", "r-1", 2, 50 * S, 49 * S)],
    ),
    "a forged manifest": ("unsigned", [PLAN, Installed(2 * S, "aa", HOOK, 2, "forged")]),
    "a manifest of another epoch": (
        "unsigned",
        [PLAN, TRIAL, Installed(2 * S, "aa", HOOK, 7, "m2")],
    ),
    "a plan that nobody approved": ("unsigned", [UNPLANNED]),
    "a candidate that is not the plan's": ("unsigned", [PLAN, replace(TRIAL, candidate="x")]),
    "a policy that no manifest names": ("unsigned", [*BEGUN, tried(3 * S, digest="x")]),
    "a policy before any manifest": ("unsigned", [PLAN, TRIAL, tried(3 * S)]),
    "an epoch that is not in force": ("unsigned", [*BEGUN, tried(3 * S, epoch=5)]),
    "a lease that ran out": ("expired", [*BEGUN, tried(18 * S)]),
    "the same renewal twice": ("expired", [*BEGUN, *installed(TRIAL, 15 * S), tried(18 * S)]),
    "a candidate resumed from disk": (
        "expired",
        [*BEGUN, Restarted(3 * S, "aa"), Installed(3 * S, "aa", HOOK, 2, "m2", True), tried(4 * S)],
    ),
    "a plan that has ended": (
        "expired",
        [replace(PLAN, not_after_ns=100 * S), TRIAL, *installed(TRIAL, 2 * S), *RENEWED]
        + [tried(479 * S)],
    ),
    "a manifest older than one acknowledged": (
        "superseded",
        [*BEGUN, LATER, *installed(LATER, 26 * S), Installed(27 * S, "aa", HOOK, 2, "m2")],
    ),
    "a decision under a superseded epoch": (
        "superseded",
        [*BEGUN, LATER, *installed(LATER, 26 * S), tried(27 * S)],
    ),
    "an epoch forgotten by a restart": (
        "superseded",
        [*BEGUN, LATER, *installed(LATER, 26 * S), Restarted(27 * S, "aa")]
        + [Installed(28 * S, "aa", HOOK, 2, "m2")],
    ),
    "renewals of a superseded epoch": ("superseded", [*BEGUN, KILL, *RENEWED, tried(479 * S)]),
    "a policy that no pinned key signed": (
        "keys",
        [*PINNED, VOUCHED, *installed(VOUCHED, 2 * S), Trusted(2 * S, "aa", ("k2",)), tried(3 * S)],
    ),
    "a weight beyond the plan": ("weight", [PLAN, HEAVY]),
    "a canary above one half": ("weight", [PLAN, replace(TRIAL, weight=1.0)]),
    "a candidate that decides in live shadow": (
        "weight",
        [PLAN, replace(TRIAL, phase="shadow", weight=0.0), *installed(TRIAL, 2 * S), tried(3 * S)],
    ),
    "a decision after an acknowledged kill": (
        "killed",
        [*BEGUN, KILL, *installed(KILL, 21 * S), tried(22 * S)],
    ),
    "a manifest after an answered kill": ("killed", [*BEGUN, *KILLING, LATER]),
    "a process that never heard of a kill": (
        "killed",
        [*BEGUN, *KILLING, *RENEWED, tried(479 * S)],
    ),
    "one epoch with two contents": ("epochs", [PLAN, TRIAL, replace(TRIAL, weight=0.5)]),
    "an older epoch after a later one": ("epochs", [PLAN, TRIAL, KILL, TRIAL]),
    "an order that was lost": ("orders", [*KILLING, Settled(0, "control", "r-1", MOVES[:1])]),
    "an order carried out twice": (
        "orders",
        [*KILLING, Settled(0, "control", "r-1", (*MOVES, MOVES[1]))],
    ),
    "an order that was refused and carried out": (
        "orders",
        [KILLING[0], Answered(20 * S, "op", "q1", False), *END],
    ),
    "a transition that the ledger lacks": ("ledger", [END[0], *entries(MOVES[:1])]),
    "a transition that the ledger holds twice": ("ledger", [END[0], *entries((*MOVES, MOVES[1]))]),
    "transitions in another order": ("ledger", [END[0], *entries(MOVES[::-1])]),
    "a broken chain": ("ledger", [*END[:2], replace(entries()[1], previous="ff")]),
    "a missing entry": ("ledger", [replace(entries()[1], seq=3)]),
    "an event written twice": ("ledger", [entries()[0], replace(entries()[1], event=1)]),
    "a transition seen and forgotten": (
        "ledger",
        [Moved(9 * S, "op", "r-1", 1, "SHADOW", "CANARY", "x"), *END],
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_violation_is_noticed(planted: str) -> None:
    name, history = PLANTED[planted]
    problems = check(history)
    assert problems
    assert any(problem.startswith(f"{name}:") for problem in problems), problems


def test_a_lost_state_forgets_epochs_and_nothing_else() -> None:
    """A process that lost its folder may take what is fresh; min_epoch is what replaces the folder."""
    again = replace(TRIAL, time_ns=24 * S, issued_ns=24 * S, content="m2b")
    lost = Restarted(27 * S, "aa", kept=False)
    older = [*BEGUN, again, LATER, *installed(LATER, 26 * S), lost]
    assert check([*older, Installed(28 * S, "aa", HOOK, 2, "m2b"), tried(29 * S)]) == []
    assert check([*older, tried(29 * S)])


def test_every_property_is_planted() -> None:
    names = {name for name, _ in PLANTED.values()}
    page = (Path(__file__).parents[2] / "docs" / "reference" / "safety.md").read_text("utf-8")
    assert names == set(re.findall(r"^\| (\w+) \| [A-Z]", page, re.MULTILINE))


def test_an_order_that_was_refused_then_sent_again_without_an_answer_may_be_carried_out() -> None:
    """As where the process dies between storing the second and answering it."""
    order = Ordered(1 * S, "op", "q1", "r-1", "abort")
    moved = Settled(9 * S, "control", "r-1", (("SHADOW", "ABORTED", "q1"),))
    refused = Answered(2 * S, "op", "q1", False)
    again = Ordered(3 * S, "op", "q1", "r-1", "abort")
    wrong = "orders: abort q1 of r-1 was refused and carried out"
    assert wrong in check([order, refused, moved])
    assert wrong not in check([order, refused, again, moved])
    assert wrong in check([order, refused, again, Answered(4 * S, "op", "q1", False), moved])


def keys_problems(*more: Event) -> list[str]:
    return [problem for problem in check([*PINNED, *more]) if problem.startswith("keys")]


def test_what_a_pinned_key_signed_decides() -> None:
    assert check([*PINNED, VOUCHED, *installed(VOUCHED, 2 * S), tried(3 * S)]) == []


def test_whoever_never_said_whom_it_trusts_is_not_asked() -> None:
    assert check([PLAN, TRIAL, *installed(TRIAL, 2 * S), tried(3 * S)]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Trusted(2 * S, "aa", ("k2",)), "c1 decided, which no pinned key signed"),
        (Trusted(2 * S, "aa", ("k2",)), "under a plan that no pinned key signed"),
        (Trusted(2 * S, "aa", ("k1",), frozenset({"r1"})), "epoch 2 decided, which a revoked key"),
    ],
)
def test_a_decision_by_an_untrusted_signature_is_noticed(change: Trusted, words: str) -> None:
    found = keys_problems(VOUCHED, *installed(VOUCHED, 2 * S), change, tried(3 * S))
    assert any(words in problem for problem in found), found


def test_signed_again_it_goes_on() -> None:
    again = replace(VOUCHED, time_ns=2 * S, epoch=3, content="m3", plan_by=("k2", "k1"))
    signed = Signed(2 * S, "publisher", "c1", "k2")
    rest = [Trusted(3 * S, "aa", ("k2",)), Trusted(3 * S, "control", ("k2",))]
    told = [signed, again, *installed(again, 2 * S), *rest, tried(4 * S, epoch=3)]
    assert keys_problems(VOUCHED, *told) == []


def test_a_publication_without_a_pinned_key_is_noticed_and_a_kill_is_not() -> None:
    unpinned = Trusted(1 * S, "control", ("k2",))
    found = keys_problems(unpinned, replace(VOUCHED, time_ns=2 * S))
    assert any("epoch 2 is published under a plan" in problem for problem in found)
    assert any("c1 is published, which no pinned key signed" in problem for problem in found)
    assert keys_problems(unpinned, replace(KILL, plan_by=("k1",))) == []


def test_an_epoch_that_a_revoked_key_named_is_forgotten_and_another_is_not() -> None:
    older = replace(VOUCHED, epoch=1, content="m1", by="r2")
    told = [older, VOUCHED, *installed(VOUCHED, 2 * S)]
    taken = installed(older, 5 * S)
    revoked = Trusted(4 * S, "aa", ("k1",), frozenset({"r1"}))
    assert check([*PINNED, *told, revoked, *taken]) == []
    other = Trusted(4 * S, "aa", ("k1",), frozenset({"r3"}))
    assert any("superseded" in problem for problem in check([*PINNED, *told, other, *taken]))


def test_what_a_copy_put_back_has_lost_is_forgiven_and_what_came_after_is_not() -> None:
    order = [Ordered(1 * S, "op", "q9", "r-1", "hold"), Answered(1 * S, "op", "q9", True)]
    shown = Moved(2 * S, "control", "r-1", 5, "CANARY", "HOLD", "q9")
    settled, back = Settled(9 * S, "control", "r-1", ()), Restored(3 * S, "control")
    assert any("acknowledged and lost" in problem for problem in check([*order, settled]))
    assert any("forgot transition 5" in problem for problem in check([shown, settled]))
    assert check([*order, shown, back, settled]) == []
    found = check([back, *order, shown, settled])
    assert any("acknowledged and lost" in problem for problem in found)
    assert any("forgot transition 5" in problem for problem in found)


def test_a_copy_put_back_lets_no_process_go_back() -> None:
    later = replace(TRIAL, epoch=3, content="m3")
    told = [PLAN, TRIAL, later, *installed(later, 2 * S), Restored(3 * S, "control")]
    found = check([*told, replace(TRIAL, time_ns=4 * S), *installed(TRIAL, 5 * S)])
    assert [problem.partition(":")[0] for problem in found] == ["superseded"]
