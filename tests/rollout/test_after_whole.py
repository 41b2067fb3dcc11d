"""A real service and a real control plane: traffic moves away, a fresh verdict answers, or the function is back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.shipping import Ramp
from gnomon.sdk.bundle import build_bundle, golden_of
from gnomon.sdk.errors import UnavailableError
from gnomon.sdk.language import check
from gnomon.shadow.gates.verdict import GATES, GateResult, Verdict
from gnomon.shadow.profiles import message, profile_of
from gnomon.shadow.traces.trace import DecisionTrace
from gnomon.v1 import policy_pb2, rollouts_pb2

from .whole import Whole, ended, wait

pytestmark = pytest.mark.long

#: A service whose backends slow down when a file says by how much.
SERVICE = """
import random, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
import gnomon

@gnomon.hook("after.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(backends):
    return backends[0]

gnomon.configure()
rng, slower = random.Random(1), Path(sys.argv[1])
going = [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
while going:
    factor = float(slower.read_text() or 1)
    for _ in range(100):
        backends = [SimpleNamespace(inflight=0, ewma_ms=ms * factor * rng.uniform(0.8, 1.2), weight=1.0)
                    for ms in (60.0, 20.0)]
        with pick.decide(backends) as decision:
            decision.outcome(latency_ms=decision.action.ewma_ms, ok=True)
        time.sleep(0.0002)
gnomon.shutdown()
"""
RAMP = Ramp(
    block_s=0.4,
    burn_in_s=0.05,
    skew_s=0.02,
    shadow_decisions=0,
    soak_s=3.0,
    lease_s=5.0,
    drift_window_s=0.5,
    drift_windows=2,
    grace_s=3600.0,
)
SOURCE = "def score(ewma_ms):\n    return ewma_ms\n"


def trace(factor: float, until_ns: int) -> DecisionTrace:
    """Return recorded decisions of this service."""
    rng, n = np.random.default_rng(2), 2_000
    features = np.zeros((n, 2, len(load_balancer.inputs)))
    features[:, :, 1] = np.array([60.0, 20.0]) * factor * rng.uniform(0.8, 1.2, (n, 2))
    features[:, :, 2] = 1.0
    at = np.linspace(0.0, 2.0, n)
    return DecisionTrace(
        "after.pick", "load_balancer", until_ns - 2_000_000_000, ("a", "b"), ("p",), at,
        np.zeros(n, np.int32), np.zeros(n, np.int32), features, np.ones(n), np.ones(n, np.bool_),
    )  # fmt: skip


def profile(factor: float, until_ns: int = 1_700_000_000_000_000_000) -> policy_pb2.Profile:
    made = message(profile_of(trace(factor, until_ns), load_balancer), "t" * 64)
    assert made is not None
    return made


class Place(Whole):
    """A control plane, and a service that goes on and whose backends slow down when told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.slower(1.0)
        self.serve(SERVICE, str(folder / "slower"))

    def slower(self, factor: float) -> None:
        (self.folder / "new").write_text(str(factor))
        (self.folder / "new").replace(self.folder / "slower")

    def bundle(self) -> bytes:
        program = check(SOURCE, load_balancer.input_names)
        return build_bundle(
            program, "after.pick", load_balancer, "0" * 64, {}, profile=profile(1.0)
        )

    def promote(self, client: RolloutClient, ramp: Ramp) -> str:
        """Ship a policy and get it to STABLE by hand."""
        wait(lambda: any(each.connected for each in client.clients("after.pick")))
        rollout = self.ship(client, self.bundle(), load_balancer, ramp)
        wait(lambda: client.get(rollout).state == rollouts_pb2.CANARY)
        client.act(rollout, "promote", "test", "to see what follows")
        found = ended(client, rollout)
        assert found.state == rollouts_pb2.STABLE, found.transitions[-1].cause
        return rollout

    def reverified(self, factor: float) -> None:
        """Have a fresh verdict on newer traffic, and bring it by the command."""
        verdict = Verdict(
            decision="accepted",
            reason="",
            summary="still better",
            hook="after.pick",
            kind="load_balancer",
            kind_version=load_balancer.version,
            source=SOURCE,
            source_digest=hashlib.sha256(SOURCE.encode()).hexdigest(),
            form="score",
            gates=tuple(GateResult(name, "passed", "") for name in GATES),
            fidelity={},
            trace="n" * 64,
            splits={},
            calibration="c" * 64,
            predicted={},
            layers=(),
            isolation="strict",
            seed=0,
            tool="test",
            created_ns=1,
            golden=golden_of(load_balancer.checked(SOURCE), load_balancer).digest,
            profile=profile_of(trace(factor, time.time_ns()), load_balancer),
        ).save(self.folder / "verdict.json")
        with closing(Ledger(self.folder / "local.db")) as ledger:
            verdict.record(ledger, "verify")
        words = ["rollout", "reverified", "after.pick", "--verdict", self.folder / "verdict.json"]
        words += ["--key", self.folder / "publisher.pem", "--ledger", self.folder / "local.db"]
        words += ["--control-plane", self.address, "--json"]
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["upkeep"]["notice"] == ""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.stop()


@pytest.mark.timeout(300)
def test_traffic_that_moves_is_noticed_answered_and_in_the_end_has_its_consequence(
    place: Place,
) -> None:
    with RolloutClient(place.address) as client:
        rollout = place.promote(client, RAMP)
        wait(lambda: len(client.get(rollout).upkeep.indices) == 3)
        assert not client.get(rollout).upkeep.notice
        place.slower(4.0)
        wait(lambda: client.get(rollout).upkeep.notice)
        assert "index of ewma_ms" in client.get(rollout).upkeep.notice
        place.restart()
        wait(lambda: _reachable(client))
        noticed = client.get(rollout)
        assert (noticed.state, bool(noticed.upkeep.notice)) == (rollouts_pb2.STABLE, True)
        place.reverified(4.0)
        wait(lambda: _calm(client.get(rollout).upkeep))
        client.act(rollout, "abort", "test")
        place.slower(1.0)

        rollout = place.promote(client, replace(RAMP, grace_s=0.2))
        wait(lambda: _calm(client.get(rollout).upkeep))
        place.slower(4.0)
        wait(lambda: client.get(rollout).state == rollouts_pb2.ABORTED)
        over = client.get(rollout)
        assert over.serving == "incumbent"
        assert over.transitions[-1].cause.startswith("drifted: ")
        wait(lambda: client.get(rollout).acked == client.get(rollout).clients == 1)
        kinds = [entry.kind for entry in client.entries() if "reverif" in entry.kind]
        due = "rollout.reverification_due"
        assert kinds == [due, "rollout.reverified", due]
        assert client.verify().ok


def _calm(upkeep: rollouts_pb2.UpkeepStatus) -> bool:
    """Return whether a window after the first one is judged, and close to it."""
    known = [each for each in upkeep.indices if each.from_first == each.from_first]
    return len(known) == 3 and not upkeep.over and not upkeep.notice


def _reachable(client: RolloutClient) -> bool:
    try:
        return bool(client.get().id)
    except UnavailableError:
        return False
