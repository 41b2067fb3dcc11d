"""A real hook in a real process, a real control plane: a better policy gets all the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.language import check
from gnomon.v1 import rollouts_pb2

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


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[str]:
    for name in ("publisher", "rollout"):
        keys.save(keys.generate(), tmp_path, name, name)
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "gnomon", "serve", "--listen", "127.0.0.1:0"]
    command += ["--state", str(tmp_path / "state"), "--rollout-key", str(tmp_path / "rollout.pem")]
    command += ["--publisher-key", str(tmp_path / "publisher.pub"), "--ready-file", str(ready)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.05)
        yield ready.read_text().strip()
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.timeout(120)
def test_a_better_policy_goes_from_draft_to_stable(control_plane: str, tmp_path: Path) -> None:
    publisher = keys.load_private(tmp_path / "publisher.pem")
    program = check("def score(ewma_ms):\n    return ewma_ms\n", load_balancer.input_names)
    bundle = build_bundle(program, "whole.pick", load_balancer, "0" * 64, {})
    rollout_key = keys.load_public(tmp_path / "rollout.pub")
    plan = build_plan(RAMP, bundle, load_balancer, rollout_key, time.time_ns())
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        env={
            "GNOMON_CONTROL_PLANE": control_plane,
            "GNOMON_PUBLISHER_KEYS": str(tmp_path / "publisher.pub"),
            "GNOMON_STATE_DIR": str(tmp_path / "service"),
        },
    )
    try:
        with RolloutClient(control_plane) as client:
            envelope = dsse.sign(dsse.BUNDLE_TYPE, bundle, publisher)
            found = client.create(envelope, sign_plan(plan, publisher), "test")
            found = _ended(client, found.id)
            told = json.dumps([step.cause for step in found.transitions])
            assert rollouts_pb2.State.Name(found.state) == "STABLE", told
            names = [rollouts_pb2.State.Name(step.to) for step in found.transitions]
            assert names == ["SHADOW", "CANARY", "FULL", "STABLE"], told
            assert found.evidence.effect.high < 0.0
            assert client.verify().ok
    finally:
        service.terminate()
        assert service.wait(10) == 0


def _ended(client: RolloutClient, rollout: str) -> rollouts_pb2.Rollout:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        found = client.get(rollout)
        if rollouts_pb2.State.Name(found.state) in ("STABLE", "ABORTED", "HOLD"):
            return found
        time.sleep(0.2)
    return client.get(rollout)
