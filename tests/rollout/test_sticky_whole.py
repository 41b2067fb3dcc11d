"""A sticky kind of the tests' own, two real processes, a real control plane: one policy wins, one is taken back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.language import check
from gnomon.v1 import rollouts_pb2

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


@pytest.fixture
def services(control_plane: str, tmp_path: Path) -> Iterator[None]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", KIND + SERVICE, str(number)],
            env={
                "GNOMON_CONTROL_PLANE": control_plane,
                "GNOMON_PUBLISHER_KEYS": str(tmp_path / "publisher.pub"),
                "GNOMON_STATE_DIR": str(tmp_path / f"service-{number}"),
            },
        )
        for number in (1, 2)
    ]
    yield
    for process in started:
        process.terminate()
    assert [process.wait(10) for process in started] == [0, 0]


def kind() -> Any:
    space: dict[str, Any] = {}
    exec(KIND, space)  # noqa: S102 - the text above
    return space["layout"]


@pytest.mark.timeout(150)
def test_the_better_policy_wins_and_the_worse_is_taken_back(
    control_plane: str, services: None, tmp_path: Path
) -> None:
    """Both incumbents, and a policy that picks the lightest (it wins) or the heaviest (it is worse)."""
    with RolloutClient(control_plane) as client:
        ids = {
            hook: _shipped(client, tmp_path, hook, score)
            for hook, score in (("layout.good", "weight_kb"), ("layout.bad", "0.0 - weight_kb"))
        }
        found = {hook: _ended(client, rollout) for hook, rollout in ids.items()}
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


def _shipped(client: RolloutClient, folder: Path, hook: str, score: str) -> str:
    publisher = keys.load_private(folder / "publisher.pem")
    own = kind()
    program = check(f"def score(weight_kb):\n    return {score}\n", own.input_names)
    bundle = build_bundle(program, hook, own, "0" * 64, {})
    plan = build_plan(RAMP, bundle, own, keys.load_public(folder / "rollout.pub"), time.time_ns())
    envelope = dsse.sign(dsse.BUNDLE_TYPE, bundle, publisher)
    return client.create(envelope, sign_plan(plan, publisher), "test").id


def _ended(client: RolloutClient, rollout: str) -> rollouts_pb2.Rollout:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = client.get(rollout)
        if rollouts_pb2.State.Name(found.state) in ("STABLE", "ABORTED", "HOLD"):
            return found
        time.sleep(0.2)
    return client.get(rollout)
