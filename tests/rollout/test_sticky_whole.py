"""A sticky kind of the tests' own, two real processes, a real control plane: one policy wins, one is taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp
from gnomon.v1 import rollouts_pb2

from .whole import Whole, ended

pytestmark = pytest.mark.long

#: Users are independent: what one of them is shown changes nothing for another.
KIND = """
from gnomon.sdk.kind import Feature, Guardrail, Kind, Metric
layout = Kind(
    "page_layout", 1, "Picks what a user sees first.",
    (Feature("weight_kb", "kB", "Size of what is sent.", 0.0, 1e6),),
    Metric("ready_ms", "ms", 1000.0),
    (Guardrail("failures", "ready_ms", "failure_rate", 0.02),),
    arms="sticky", outcome_deadline_s=0.5,
)
"""
#: Decides until it is told to stop; every user has a line of a speed of its own.
SERVICE = """
import random, signal, sys, time
from types import SimpleNamespace
import gnomon

how = dict(kind=layout, items="layouts", item_features=lambda l: (l.weight_kb,), unit=lambda user, layouts: user)

@gnomon.hook("layout.good", **how, redact=lambda user: "someone")
def good(user, layouts):
    return layouts[1]

@gnomon.hook("layout.bad", **how)
def bad(user, layouts):
    return layouts[0]

gnomon.configure()
rng = random.Random(int(sys.argv[1]))
speeds = [random.Random(i).uniform(0.7, 1.3) for i in range(3000)]
layouts = [SimpleNamespace(weight_kb=size) for size in (40.0, 90.0)]
going = [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
while going:
    for pick in (good, bad):
        user = rng.randrange(3000)
        with pick.decide(f"user-{user}", layouts) as decision:
            size = decision.action.weight_kb
            decision.outcome(ready_ms=size * speeds[user] * rng.uniform(0.8, 1.2), ok=True)
    time.sleep(0.002)
gnomon.shutdown()
"""
RAMP = Ramp(
    weights=(0.5, 1.0),
    shadow_decisions=50,
    shadow_rate=1.0,
    soak_s=1.0,
    lease_s=5.0,
    min_pairs=3,
    slices=400,
    max_looks=100,
)


def kind() -> Any:
    space: dict[str, Any] = {}
    exec(KIND, space)  # noqa: S102 - the text above
    return space["layout"]


@pytest.mark.timeout(150)
def test_the_better_policy_wins_and_the_worse_is_taken_back(whole: Whole) -> None:
    """Both incumbents, and a policy that picks the lightest (it wins) or the heaviest (it is worse)."""
    for number in (1, 2):
        whole.serve(KIND + SERVICE, str(number))
    with RolloutClient(whole.address) as client:
        ids = {
            hook: whole.score(client, hook, kind(), score, RAMP)
            for hook, score in (("layout.good", "weight_kb"), ("layout.bad", "0.0 - weight_kb"))
        }
        found = {hook: ended(client, rollout) for hook, rollout in ids.items()}
        told = json.dumps([[step.cause for step in each.transitions] for each in found.values()])
        states = [rollouts_pb2.State.Name(each.state) for each in found.values()]
        assert states == ["STABLE", "ABORTED"], told
        names = [
            [rollouts_pb2.State.Name(step.to) for step in each.transitions]
            for each in found.values()
        ]
        assert names[0] == ["SHADOW", "CANARY", "FULL", "STABLE"], told
        assert names[1] == ["SHADOW", "CANARY", "ABORTED"], told
        assert "objective worse by" in found["layout.bad"].transitions[-1].cause
        assert found["layout.good"].evidence.effect.high < 0.0
        assert found["layout.good"].clients == 2
        assert client.verify().ok
