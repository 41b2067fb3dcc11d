"""A real hook in a real process, a real control plane: a better policy gets all the way."""

from __future__ import annotations

import json

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp
from gnomon.v1 import rollouts_pb2

from .whole import Whole, ended

pytestmark = pytest.mark.long

#: A service whose first backend is slow; it decides until it is told to stop.
SERVICE = """
import random, signal, sys, time
from types import SimpleNamespace
import gnomon

@gnomon.hook("whole.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(backends):
    return backends[0]

gnomon.configure()
rng = random.Random(1)
backends = [SimpleNamespace(inflight=0, ewma_ms=ms, weight=1.0) for ms in (60.0, 20.0)]
going = [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
while going:
    with pick.decide(backends) as decision:
        decision.outcome(latency_ms=decision.action.ewma_ms * rng.uniform(0.8, 1.2), ok=True)
    time.sleep(0.002)
gnomon.shutdown()
"""
RAMP = Ramp(
    weights=(0.5, 1.0),
    block_s=0.4,
    burn_in_s=0.05,
    skew_s=0.02,
    min_pairs=6,
    max_pairs=60,
    shadow_decisions=50,
    shadow_rate=1.0,
    soak_s=1.0,
    lease_s=5.0,
)


@pytest.mark.timeout(120)
def test_a_better_policy_goes_from_draft_to_stable(whole: Whole) -> None:
    whole.serve(SERVICE)
    with RolloutClient(whole.address) as client:
        rollout = whole.score(client, "whole.pick", load_balancer, "ewma_ms", RAMP)
        found = ended(client, rollout, patience_s=90.0)
        told = json.dumps([step.cause for step in found.transitions])
        assert rollouts_pb2.State.Name(found.state) == "STABLE", told
        names = [rollouts_pb2.State.Name(step.to) for step in found.transitions]
        assert names == ["SHADOW", "CANARY", "FULL", "STABLE"], told
        assert found.evidence.effect.high < 0.0
        assert client.verify().ok
