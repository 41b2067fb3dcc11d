"""Seeded worlds are safe, reach everything, and are the same every time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from gnomon.policies.rollout.plan import read_plan

from . import memory, publisher
from .arrows import arrows
from .runner import ROOT, Report, played, replay, soak
from .world import World, simulate

_SEEDS = 34
_SOAK = 100_000
_RATES = (
    *("drop", "reorder", "duplicate", "replay", "forge", "breaks", "half_open", "partition"),
    *(
        "crash",
        "plane_crash",
        "writes",
        "disk_full",
        "jump",
        "breaker",
        "killed",
        "drift",
        "keys",
        "restores",
    ),
)
#: Kinds of trouble, and what has to have happened in a soak run, beside every transition.
SOMETIMES = (
    "breaker",
    "clock jumps",
    "control plane: start fails: Died",
    "control plane dies in SHADOW",
    "control plane dies in CANARY",
    "control plane dies in RAMP",
    "control plane dies in FULL",
    "control plane dies in STABLE",
    "control plane dies in HOLD",
    "control plane dies in ABORTED",
    "dies after ledger.append",
    "dies after publish",
    "dies after state.keep",
    "dies after state.save",
    "dies after store.note",
    "dies after store.put_bundle",
    "dies after store.put_clients",
    "dies after store.put_reports",
    "dies after store.save",
    "dies before ledger.append",
    "dies before publish",
    "dies before state.save",
    "dies before store.save",
    "disk full",
    "epoch lifted",
    "exclusion",
    "falls silent",
    "forgery",
    "half-open",
    "key: publisher revoked",
    "key: publisher rotated",
    "key: rollout revoked",
    "key: rollout rotated",
    "key: still needed",
    "killed by hand",
    "lease ends",
    "ledger falls behind",
    "ledger: control.trusted",
    "ledger: keys.resigned",
    "ledger: ledger.accepted",
    "ledger: ledger.disputed",
    "ledger: rollout.reverification_due",
    "ledger: rollout.reverification_lifted",
    "ledger: rollout.reverified",
    "link breaks",
    "message dropped",
    "message duplicated",
    "message reordered",
    "nack",
    "order recalibrated done",
    "order repeated",
    "order sent again",
    "older store refused",
    "partition",
    "plan sent again",
    "process restart",
    "process restart without state",
    "put back: both",
    "put back: ledger",
    "put back: store",
    "replay",
    "third attempt",
    "verdict refused",
    "verified again",
    "workload drifts",
)


@pytest.fixture(scope="module")
def report() -> Report:
    return played(0, _SEEDS)


@pytest.fixture(autouse=True)
def _fast() -> Iterator[None]:
    with memory.remembered():
        yield


@cache
def every_arrow(kind: str) -> frozenset[str]:
    """Return the arrows of the hooks whose names begin like that, each after the name of its arms."""
    how = replace(publisher.ramp(random.Random(1)), weights=(0.2, 0.35, 0.5, 1.0))
    how = replace(how, shadow_decisions=8, expires_s=8.0, drift=0.25, grace_s=2.0, then="incumbent")
    words = publisher.plan(f"{kind}.0", 1, "incumbent", "r", 1_700_000_000 * 10**9, how)
    arms = publisher.KINDS[kind].arms
    return frozenset(f"{arms}: {one}" for one in arrows(read_plan(words.payload)))


def assert_safe(report: Report) -> None:
    assert not report.problems, report.told()


def test_seeded_rollouts_are_safe(report: Report) -> None:
    assert_safe(report)
    assert report.rollouts >= 200


def test_seeded_rollouts_go_everywhere_that_matters_most(report: Report) -> None:
    """Those few seeds reach most of it; all of it is asked of the soak run."""
    met = {name.partition(": ")[2] for name in report.met}
    missed = {name for name in every_arrow("hook") if name.partition(": ")[2] not in met}
    assert len(missed) <= 6, missed
    assert sum(name not in report.met for name in SOMETIMES) <= 8


def test_every_transition_is_found_by_trying() -> None:
    found = {name.removeprefix("switchback: ") for name in every_arrow("hook")}
    assert {"SHADOW -> CANARY", "RAMP -> FULL", "ABORTED -> SHADOW, by order"} <= found
    assert {"STABLE -> ABORTED, expired", "STABLE -> ABORTED, drifted"} <= found
    assert not any(arrow.startswith("DRAFT") for arrow in found - {"DRAFT -> SHADOW"})
    assert len(found) >= 36


@pytest.mark.parametrize("seed", [3, 10, 17])
def test_the_same_seed_is_the_same_history_on_either_store(seed: int) -> None:
    one, other = (simulate(seed, on_sqlite=kind).history for kind in (True, False))
    assert one == other
    assert len(one) > 100


def test_a_copy_put_back_is_the_same_on_either_store() -> None:
    weather = replace(World(5).weather, restores=0.5, keys=0.0, seconds=40.0)
    runs = [simulate(5, weather, on_sqlite=kind) for kind in (True, False)]
    assert runs[0].history == runs[1].history
    assert runs[0].met["put back: both"] + runs[0].met["put back: store"] >= 2
    assert not runs[0].problems


def test_other_seeds_are_other_histories() -> None:
    assert simulate(3).history != simulate(4).history


def test_a_failure_names_the_command_that_plays_it_again() -> None:
    report = Report(problems=[(4711, "killed: p0 decided")])
    assert "-m tests.rollout.simulation --seed 4711 --history" in report.told()
    assert replay(4711) in report.told()


def test_a_quiet_world_ends_in_success() -> None:
    """Without any trouble a good candidate becomes stable: the simulation can tell the difference."""
    calm = World(1).weather
    quiet = replace(
        calm, processes=3, cells=1, hooks=1, seconds=120.0, delay_s=0.02, orders=0.0, exclusions=0.0,
        skew_s=0.01, lose_state=0.0,
        **dict.fromkeys(_RATES, 0.0),
    )  # fmt: skip
    runs = [simulate(seed, quiet) for seed in range(3)]
    assert not [problem for run in runs for problem in run.problems]
    met = sum((run.met for run in runs), Counter())
    assert sum(met[f"{kind.arms}: FULL -> STABLE"] for kind in publisher.KINDS.values()) >= 2
    assert not met["nack"]


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_rollouts_are_safe_and_go_everywhere() -> None:
    report = soak(_SOAK, ROOT / "build" / "soak")
    assert_safe(report)
    required = {name for kind in publisher.KINDS for name in every_arrow(kind)} | {*SOMETIMES}
    missed = {name for name in required if not report.met[name]}
    assert not missed
