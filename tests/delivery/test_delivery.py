"""The delivery client against a scripted control plane on loopback."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.manifest import Now
from gnomon.sdk.measure import BlockMeasure
from gnomon.v1 import delivery_pb2, policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"
LEAST = "def score(inflight):\n    return inflight\n"
PATIENCE_S = 10.0


@pytest.fixture
def start(world, hook, tmp_path):
    """Start clients that are stopped in the end."""
    running = []

    def start(port: int, hooks=None, **changes) -> DeliveryClient:
        fields: dict[str, Any] = {
            "peer": Peer(f"127.0.0.1:{port}"),
            "service": "shop",
            "anchors": world.anchors,
            "cell": "cell-a",
            "state_dir": tmp_path,
            "report_interval_s": 0.05,
        }
        client = DeliveryClient(
            ({HOOK: hook} if hooks is None else hooks).values,
            Settings(**(fields | changes)),
            lambda: "0123456789abcdef",
            rng=random.Random(1),
        )
        running.append(client)
        client.start()
        return client

    yield start
    assert [client.stop() for client in running] == [True] * len(running)


@pytest.fixture
def shipped(world):
    """Return a bundle, its digest and a maker of manifests whose plan allows it."""
    world.now = Now(time.time_ns(), time.monotonic_ns())
    envelope = world.bundle(LEAST)
    digest = bundle_digest(envelope.payload)
    plan = world.plan(candidate=digest)

    def manifest(epoch: int, **changes):
        return world.manifest(epoch, **({"plan": plan, "candidate": digest} | changes))

    return envelope, digest, manifest


def deliver(control, shipped, epoch: int = 1) -> None:
    """Push a bundle and its manifest and take both acknowledgements."""
    envelope, _, manifest = shipped
    control.bundle(envelope)
    control.manifest(manifest(epoch))
    assert control.ack().ok
    ack = control.ack()
    assert ack.ok, ack.error


def test_a_policy_is_announced_delivered_installed_and_reported(
    control, start, hook, shipped, eventually
) -> None:
    client = start(control.port)
    hello = control.hello()
    assert (hello.node.service, hello.node.instance) == ("shop", "0123456789abcdef")
    assert hello.hooks[0].epoch == 0
    deliver(control, shipped)
    eventually(lambda: hook.installed)
    (assignment,) = hook.installed
    assert (assignment.phase, assignment.candidate.source) == ("canary", LEAST)
    assert hook.measure is not None
    eventually(lambda: control.reports.get(timeout=PATIENCE_S).epoch == 1)
    status = client.status
    assert status.connected
    assert (status.accepted, status.refused, status.staleness_s) == (2, 0, 0.0)


def test_bad_resources_are_refused_by_nonce_and_the_stream_goes_on(
    control, start, world, hook, shipped, eventually
) -> None:
    client = start(control.port)
    _, _, manifest = shipped
    deliver(control, shipped)
    control.bundle(world.bundle(LEAST, signer=world.stranger), nonce="forged")
    control.manifest(manifest(0), nonce="old")
    control.manifest(policy_pb2.Envelope(payload=os.urandom(200)), nonce="garbage")
    for nonce in ("forged", "old", "garbage"):
        ack = control.ack()
        assert (ack.nonce, ack.ok) == (nonce, False)
        assert ack.error
    control.manifest(manifest(2, weight=0.5))
    assert control.ack().epoch == 2
    eventually(lambda: len(hook.installed) == 2)
    assert (client.status.accepted, client.status.refused) == (3, 3)
    assert client.status.last_error


def test_bytes_that_are_no_message_end_the_stream_and_nothing_else(
    control, start, hook, shipped
) -> None:
    start(control.port)
    deliver(control, shipped)
    control.hello()
    control.pushes.put(b"\xff\xff\xff\xff")
    assert control.hello().hooks[0].epoch == 1, "it came back, knowing what it runs"
    assert len(hook.installed) == 1


def test_a_failing_stream_is_opened_again(control, start, shipped, hook) -> None:
    client = start(control.port)
    deliver(control, shipped)
    control.hello()
    for _ in range(3):
        control.pushes.put(None)
        assert control.hello().hooks[0].epoch == 1
    assert client.status.connects >= 4
    assert "scripted failure" in client.status.last_error
    assert len(hook.installed) == 1


def test_a_control_plane_that_is_down_at_the_start_is_waited_for(
    make_control, start, hook, shipped, eventually
) -> None:
    port = _free_port()
    client = start(port)
    eventually(lambda: client.status.connects >= 2)
    assert not client.status.connected
    assert client.staleness_s > 0.0
    assert hook.installed == []
    control = make_control(port)
    try:
        deliver(control, shipped)
        eventually(lambda: hook.installed)
    finally:
        control.stop()
    eventually(lambda: client.staleness_s > 0.0)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_restart_runs_the_last_good_policy_before_it_is_connected(
    control, start, hook, make_hook, world, shipped, eventually
) -> None:
    _, digest, manifest = shipped
    first = start(control.port)
    deliver(control, shipped)
    control.manifest(
        manifest(2, candidate="", stable=digest, weight=0.0, phase=policy_pb2.PHASE_STABLE)
    )
    assert control.ack().ok
    eventually(lambda: len(hook.installed) == 2)
    assert first.stop()
    reborn = make_hook(HOOK, world.kind)
    start(_free_port(), hooks={HOOK: reborn})
    (assignment,) = reborn.installed
    assert (assignment.phase, assignment.stable.source) == ("stable", LEAST)
    assert (assignment.epoch, assignment.stable_digest) == (2, digest)


def test_damaged_state_is_no_reason_to_stay_down(
    control, start, hook, make_hook, world, shipped, tmp_path
) -> None:
    start(control.port)
    deliver(control, shipped)
    for path in (tmp_path / "delivery").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff damaged")
    reborn = make_hook(HOOK, world.kind)
    start(control.port, hooks={HOOK: reborn})
    assert reborn.installed == []


def test_hooks_decorated_later_are_announced_and_served(
    control, start, hook, make_hook, world, shipped, eventually
) -> None:
    hooks = {"other": make_hook("other", world.kind)}
    start(control.port, hooks=hooks)
    assert [state.hook for state in control.hello().hooks] == ["other"]
    hooks[HOOK] = hook
    assert {state.hook for state in control.hello().hooks} == {"other", HOOK}
    deliver(control, shipped)
    eventually(lambda: hook.installed)
    assert hooks["other"].installed == []


def test_a_slow_control_plane_delays_nothing_here(control, start, hook, shipped) -> None:
    client = start(control.port)
    control.hello()
    began = time.monotonic()
    for _ in range(3):
        assert control.reports.get(timeout=PATIENCE_S).hook == HOOK
    assert time.monotonic() - began < PATIENCE_S / 2, "reports go out though nothing comes in"
    assert not client.status.connected, "it has not said anything yet"
    deliver(control, shipped)


def test_a_hook_that_raises_costs_its_own_report_only(
    control, start, hook, make_hook, world
) -> None:
    class Broken(make_hook):
        @property
        def counters(self):
            raise RuntimeError("broken counters")

        @counters.setter
        def counters(self, value) -> None:
            pass

    start(control.port, hooks={"broken": Broken("broken", world.kind), HOOK: hook})
    assert {control.reports.get(timeout=PATIENCE_S).hook for _ in range(5)} == {HOOK}


def test_an_install_that_raises_is_refused_and_the_stream_goes_on(
    control, start, hook, shipped, eventually
) -> None:
    install, hook.install = hook.install, _raise
    start(control.port)
    envelope, _, manifest = shipped
    control.bundle(envelope)
    assert control.ack().ok
    control.manifest(manifest(1))
    ack = control.ack()
    assert not ack.ok
    assert "RuntimeError" in ack.error
    hook.install = install
    control.manifest(manifest(2, weight=0.5))
    assert control.ack().ok
    eventually(lambda: hook.installed)


def _raise(*_: object) -> None:
    raise RuntimeError("no")


def test_stop_ends_the_thread_even_when_the_control_plane_is_stuck(start, hook, eventually) -> None:
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        client = start(deaf.getsockname()[1])
        eventually(lambda: client.status.connects >= 1)
        assert client.stop(timeout_s=4.0)
        assert client.stop(timeout_s=0.1), "stopping twice is fine"


def test_the_last_reports_go_out_at_stop(control, start, hook) -> None:
    client = start(control.port, report_interval_s=3600.0)
    control.hello()
    assert control.reports.empty()
    hook.counters = {"decisions": 77}
    assert client.stop()
    assert control.reports.get(timeout=PATIENCE_S).counters["decisions"] == 77


class BothArms(BlockMeasure):
    """A measure of a hook's own: it says the same of either arm."""

    def reports(self) -> list[delivery_pb2.BlockReport]:
        """Return one block of both arms."""
        return [
            delivery_pb2.BlockReport(cell="cell-a", block=7, arm=arm, count=3)
            for arm in ("candidate", "stable")
        ]


def test_a_hook_brings_its_own_measure_once(
    control, start, hook, shipped, eventually, monkeypatch
) -> None:
    made: list[BothArms] = []

    def new_measure() -> BothArms:
        made.append(BothArms(hook.kind))
        return made[-1]

    monkeypatch.setattr(hook, "new_measure", new_measure)
    start(control.port)
    deliver(control, shipped)
    eventually(lambda: hook.measure is not None)
    assert made == [hook.measure.takers[0]]

    def arms() -> list[str]:
        return [block.arm for block in control.reports.get(timeout=PATIENCE_S).blocks]

    eventually(lambda: arms() == ["candidate", "stable"])


class StoppedClock:
    """Both clocks stand still unless told otherwise."""

    def __init__(self) -> None:
        self.now = Now(time.time_ns(), time.monotonic_ns())

    def __call__(self) -> Now:
        return self.now

    def later(self, seconds: int) -> None:
        """Let time pass."""
        step = seconds * SECOND
        self.now = Now(self.now.unix_ns + step, self.now.monotonic_ns + step)


def test_a_control_plane_that_falls_silent_shows_within_five_seconds(
    control, hook, world, eventually
) -> None:
    clock = StoppedClock()
    settings = Settings(
        Peer(f"127.0.0.1:{control.port}"), "shop", world.anchors, report_interval_s=0.05
    )
    client = DeliveryClient(
        {HOOK: hook}.values, settings, lambda: "0123456789abcdef", now=clock, rng=random.Random(1)
    )
    client.start()
    try:
        control.pushes.put(delivery_pb2.ServerMessage())
        eventually(lambda: client.status.connected and client._hearing._beats)
        assert (client.status.refused, client.staleness_s) == (0, 0.0), "it is no resource"
        clock.later(5)
        assert client.staleness_s == 5.0
        assert client.status.connected, "the stream is open still"
        control.pushes.put(delivery_pb2.ServerMessage())
        eventually(lambda: client.staleness_s == 0.0)
        clock.later(11)
        eventually(lambda: client.status.connects > 1 or clock.later(1))
    finally:
        assert client.stop()


def test_a_control_plane_without_heartbeats_is_not_taken_for_silent(
    control, start, hook, shipped
) -> None:
    client = start(control.port)
    deliver(control, shipped)
    client._hearing._heard_ns -= 60 * SECOND
    assert client.staleness_s == 0.0
    assert client.status.connects == 1
