"""A whole canary as a service sees it: a real hook, real blocks, and the sums that come back."""

from __future__ import annotations

import queue
import random
import time

import pytest

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk import keys
from gnomon.sdk.assignment import Switchback
from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.manifest import Now
from gnomon.sdk.runtime import RUNTIME
from gnomon.v1 import policy_pb2

NAME = "delivery.canary"
BLOCK_NS = 100_000_000
SALT = b"salt of the canary"
LOWEST = "def score(inflight):\n    return inflight\n"


class Backend:
    """An item with the features of a load balancer."""

    def __init__(self, inflight: int) -> None:
        self.inflight = inflight


@pytest.fixture
def pick(world, control, tmp_path):
    """Return a decorated function, configured to be served by the scripted control plane."""
    world.kind = load_balancer
    _, public = keys.save(world.publisher, tmp_path, "publisher", "publisher")

    def features(backend: Backend) -> tuple[float, ...]:
        known = {"inflight": float(backend.inflight)}
        return tuple(known.get(f.name, max(f.low, 0.0)) for f in load_balancer.features)

    @gnomon.hook(NAME, kind=load_balancer, items="backends", item_features=features)
    def pick(backends):
        return backends[0]

    gnomon.configure(
        service="shop",
        control_plane=f"127.0.0.1:{control.port}",
        publisher_keys=(public,),
        cell="cell-a",
        state_dir=tmp_path,
        flush_interval_s=0.02,
    )
    yield pick
    gnomon.shutdown()
    RUNTIME.hooks.pop(NAME, None)


def ship(control, world) -> str:
    """Push a bundle and a canary at half of the blocks; returns the bundle's digest."""
    world.now = Now(time.time_ns(), time.monotonic_ns())
    envelope = world.bundle(LOWEST, hook=NAME)
    digest = bundle_digest(envelope.payload)
    plan = world.plan(
        hook=NAME,
        candidate=digest,
        block_ns=BLOCK_NS,
        burn_in_ns=BLOCK_NS // 10,
        skew_ns=BLOCK_NS // 20,
        objective=load_balancer.objective.name,
        objective_clip=load_balancer.objective.clip,
    )
    manifest = world.manifest(1, hook=NAME, plan=plan, candidate=digest, weight=0.5, salt=SALT)
    control.bundle(envelope)
    control.manifest(manifest, hook=NAME)
    for _ in range(2):
        ack = control.ack()
        assert ack.ok, ack.error
    return digest


def decide(pick, backends) -> int:
    """Make one decision with an outcome; returns the picked item's load."""
    with pick.decide(backends) as decision:
        loaded = decision.action.inflight
        decision.outcome(**{load_balancer.objective.name: 10.0 + loaded}, ok=True)
    return loaded


def test_a_canary_alternates_in_blocks_and_reports_what_was_measured(
    pick, control, world, eventually
) -> None:
    backends = [Backend(7), Backend(0), Backend(3)]
    assert decide(pick, backends) == 7, "the incumbent takes the first"
    digest = ship(control, world)
    hook = pick.hook
    eventually(lambda: hook.assignment.candidate_digest == digest)
    design = Switchback(SALT, "cell-a", BLOCK_NS, BLOCK_NS // 10, BLOCK_NS // 20, 0.5)
    rng, made = random.Random(7), 0
    seen: dict[int, set[int]] = {}
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        before = time.time_ns()
        loaded = decide(pick, backends)
        if design.block(before) == design.block(time.time_ns()):
            seen.setdefault(design.block(before), set()).add(loaded)
        made += 1
        time.sleep(rng.uniform(0.0005, 0.002))
    for block, loads in seen.items():
        assert loads == ({0} if design.candidate(block) else {7}), block
    gnomon.shutdown()
    blocks = collected(control)
    assert {arm for _, arm in blocks} == {"stable", "candidate"}
    for (block, arm), report in blocks.items():
        assert (arm == "candidate") == design.candidate(block)
        assert report.cell == "cell-a"
        assert report.failures == report.missing == report.fallbacks == 0
        assert report.sum == pytest.approx(report.count * (10.0 if arm == "candidate" else 17.0))
        assert sum(report.histogram) == report.count
    measured = sum(report.count for report in blocks.values())
    assert 0.3 * made < measured < made, "burn-in, skew and the first block are left out"


def collected(control) -> dict[tuple[int, str], object]:
    """Return the last report of every block and arm that the control plane got."""
    blocks = {}
    while True:
        try:
            report = control.reports.get(timeout=0.5)
        except queue.Empty:
            return blocks
        if report.hook != NAME:  # one that another test has decorated in this process
            continue
        for block in report.blocks:
            blocks[block.block, block.arm] = block


def test_a_kill_brings_the_incumbent_back_at_the_next_call(
    pick, control, world, eventually
) -> None:
    backends = [Backend(7), Backend(0)]
    decide(pick, backends)
    ship(control, world)
    kill = world.manifest(2, hook=NAME, plan=None, kill=True, phase=policy_pb2.PHASE_STABLE)
    control.manifest(kill, hook=NAME)
    assert control.ack().ok
    eventually(lambda: pick.hook.assignment.phase == "killed")
    assert {decide(pick, backends) for _ in range(50)} == {7}
