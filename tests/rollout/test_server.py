"""The server end to end: a scripted raw client acts as two services; the process is killed and comes back."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gnomon.policies.rollout.chain import check_entries
from gnomon.policies.rollout.client import RolloutClient, follow
from gnomon.policies.rollout.exclusive import alone_in
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.server import ControlPlane
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.policies.rollout.shipping import Ramp
from gnomon.sdk import keys
from gnomon.sdk.assignment import Switchback
from gnomon.sdk.channel import Peer
from gnomon.sdk.errors import ConfigurationError, RolloutError, TrustError, UnavailableError
from gnomon.v1 import delivery_pb2, delivery_pb2_grpc, policy_pb2, rollouts_pb2

HOOK = "router.pick"
QUICK = Ramp(
    block_s=0.1,
    burn_in_s=0.01,
    skew_s=0.005,
    min_pairs=8,
    max_pairs=60,
    shadow_decisions=10,
    soak_s=0.3,
    lease_s=15.0,
)


class Running:
    """A control plane on an event loop of its own thread."""

    def __init__(self, settings: ServerSettings) -> None:
        self.plane = ControlPlane(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.plane.start(), self._loop).result(10)
        self.address = f"127.0.0.1:{self.plane.port}"

    def call(self, what: Callable[[], object]) -> None:
        """Do something on the loop's thread, and wait until it is done."""

        async def do() -> None:
            what()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.plane.stop(0.2), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def settings(tmp_path: Path, publisher: Any) -> ServerSettings:
    return ServerSettings(
        "127.0.0.1:0", tmp_path / "state", publisher.rollout, (publisher.key.public_key(),)
    )


@pytest.fixture
def running(settings: ServerSettings) -> Iterator[Running]:
    made = Running(settings)
    yield made
    made.stop()


@pytest.fixture
def client(running: Running) -> Iterator[RolloutClient]:
    with RolloutClient(running.address) as made:
        yield made


class Scripted:
    """A raw stream that acknowledges everything and reports what it is told to."""

    def __init__(self, address: str, instance: str, effect: float, report: Any) -> None:
        self.manifests: list[policy_pb2.Manifest] = []
        self.bundles: list[str] = []
        self._instance, self._effect, self._report = instance, effect, report
        self._outbox: queue.SimpleQueue[delivery_pb2.ClientMessage | None] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address)
        stub = delivery_pb2_grpc.DeliveryStub(self._channel)
        node = delivery_pb2.Node(service="router", instance=instance, cell="a", version="test")
        hook = delivery_pb2.HookState(hook=HOOK, kind="toy", kind_version=1)
        self.say(hello=delivery_pb2.Hello(node=node, hooks=[hook]))
        self._call = stub.Connect(iter(self._outbox.get, None))
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._listen, self._work)]
        for thread in self._threads:
            thread.start()

    def say(self, **message: Any) -> None:
        self._outbox.put(delivery_pb2.ClientMessage(**message))

    def stop(self) -> None:
        self._stopping.set()
        self._call.cancel()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join(10)
        self._channel.close()

    def _listen(self) -> None:
        try:
            for message in self._call:
                self._take(message)
        except grpc.RpcError:
            pass

    def _take(self, message: delivery_pb2.ServerMessage) -> None:
        ack = delivery_pb2.Ack(nonce=message.nonce, ok=True)
        if message.WhichOneof("resource") == "bundle":
            self.bundles.append(message.bundle.digest)
            ack.resource, ack.name = "bundle", message.bundle.digest
        else:
            manifest = policy_pb2.Manifest.FromString(message.manifest.envelope.payload)
            self.manifests.append(manifest)
            ack.resource, ack.name, ack.epoch = "manifest", HOOK, manifest.epoch
        self.say(ack=ack)

    def _work(self) -> None:
        decisions, last = 0, time.time_ns() // 100_000_000
        while not self._stopping.wait(0.02):
            decisions += 10
            block = time.time_ns() // 100_000_000
            if self.manifests:
                blocks = [self._block(b) for b in range(last, block)]
                self._tell(decisions, [b for b in blocks if b is not None])
            last = block

    def _block(self, block: int) -> delivery_pb2.BlockReport | None:
        manifest = self.manifests[-1]
        if manifest.phase not in (policy_pb2.PHASE_CANARY, policy_pb2.PHASE_FULL):
            return None
        design = Switchback(manifest.salt, "a", 100_000_000, 0, 0, 0.5)
        full = manifest.phase == policy_pb2.PHASE_FULL
        arm = "candidate" if full or design.candidate(block) else "stable"
        mean = 50.0 + block % 7 + self._effect * (arm == "candidate")
        return self._report("a", block, arm, mean)

    def _tell(self, decisions: int, blocks: list[delivery_pb2.BlockReport]) -> None:
        shadow = delivery_pb2.ShadowReport(decisions=decisions)
        self.say(
            report=delivery_pb2.HookReport(
                hook=HOOK,
                epoch=self.manifests[-1].epoch,
                blocks=blocks,
                shadow=shadow,
                counters={"decisions": decisions},
            )
        )


def shipped(client: RolloutClient, publisher: Any, ramp: Ramp = QUICK, **how: Any) -> str:
    bundle = publisher.bundle()
    plan = publisher.plan(bundle, time.time_ns(), ramp, **how)
    return client.create(bundle, plan, "ci").id


@pytest.mark.parametrize(("effect", "end"), [(-25.0, "STABLE"), (25.0, "ABORTED")])
def test_two_services_carry_a_rollout_to_its_end(
    running: Running, client: RolloutClient, publisher: Any, report: Any, effect: float, end: str
) -> None:
    services = [Scripted(running.address, name, effect, report) for name in ("s1", "s2")]
    try:
        rollout = shipped(client, publisher)
        seen: list[str] = []
        final = follow(
            client, rollout, lambda found: seen.append(rollouts_pb2.State.Name(found.state))
        )
        deadline = time.monotonic() + 5.0
        while client.get(rollout).acked < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        known = client.clients(HOOK)
    finally:
        for service in services:
            service.stop()
    assert rollouts_pb2.State.Name(final.state) == end
    assert "CANARY" in seen
    assert {found.epoch for found in known} == {final.epoch}
    assert [service.bundles for service in services] == [[final.candidate]] * 2
    for service in services:
        assert service.manifests[-1].candidate == ""
        epochs = [manifest.epoch for manifest in service.manifests]
        assert epochs == sorted(epochs)
    assert final.serving == (final.candidate if end == "STABLE" else "incumbent")
    assert client.stable(HOOK) == final.serving
    assert client.verify().ok
    entries = list(client.entries())
    assert check_entries(entries).ok
    assert any(entry.body.get("to") == end for entry in entries)
    assert list(client.entries(subject=rollout))


def test_bundles_come_before_manifests_and_are_not_sent_twice(
    running: Running, client: RolloutClient, publisher: Any, report: Any
) -> None:
    rollout = shipped(client, publisher, replace(QUICK, shadow_decisions=10**9))
    service = Scripted(running.address, "s1", 0.0, report)
    try:
        wait(lambda: bool(service.manifests))
        client.act(rollout, "hold", "op")
        client.act(rollout, "resume", "op")
        wait(lambda: len(service.manifests) >= 3)
    finally:
        service.stop()
    assert len(service.bundles) == 1
    assert [m.candidate != "" for m in service.manifests[:3]] == [True, False, True]


def test_a_nack_holds_the_rollout(running: Running, client: RolloutClient, publisher: Any) -> None:
    rollout = shipped(client, publisher, replace(QUICK, shadow_decisions=10**9))
    channel = grpc.insecure_channel(running.address)
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    hook = delivery_pb2.HookState(hook=HOOK)
    node = delivery_pb2.Node(service="x", instance="bad", cell="a")
    hello = delivery_pb2.Hello(node=node, hooks=[hook])
    outbox.put(delivery_pb2.ClientMessage(hello=hello))
    call = delivery_pb2_grpc.DeliveryStub(channel).Connect(iter(outbox.get, None))
    message = next(call)
    stale = delivery_pb2.Ack(
        nonce="999", resource="bundle", name=message.bundle.digest, error="stale"
    )
    outbox.put(delivery_pb2.ClientMessage(ack=stale))
    nack = delivery_pb2.Ack(nonce=message.nonce, resource="bundle", name=message.bundle.digest)
    nack.error = "golden vectors differ here"
    outbox.put(delivery_pb2.ClientMessage(ack=nack))
    wait(lambda: client.get(rollout).state == rollouts_pb2.HOLD)
    outbox.put(None)
    channel.close()
    assert "process bad refused the bundle: golden" in client.get(rollout).transitions[-1].cause


def test_a_stream_without_a_hello_is_ended(running: Running) -> None:
    with grpc.insecure_channel(running.address) as channel:
        report = delivery_pb2.ClientMessage(report=delivery_pb2.HookReport(hook=HOOK))
        call = delivery_pb2_grpc.DeliveryStub(channel).Connect(iter([report]))
        with pytest.raises(grpc.RpcError, match="must be a hello"):
            next(call)


def test_errors_come_back_as_their_own_kind(
    client: RolloutClient, publisher: Any, tmp_path: Path
) -> None:
    with pytest.raises(RolloutError, match="no rollout yet"):
        client.get()
    with pytest.raises(RolloutError, match="no running rollout"):
        client.exclude(HOOK, 0, 1, "lag", "op")
    forged = type(publisher)(keys.generate(), publisher.rollout)
    with pytest.raises(TrustError, match="not a trusted key"):
        shipped(client, forged)
    with pytest.raises(UnavailableError, match="does not answer"):
        RolloutClient("127.0.0.1:1", 1.0).get()


WORLD_TLS: dict[str, Any] = {
    "listen": "0.0.0.0:7400",
    "certificate": Path("x"),
    "private_key": Path("x"),
}


def test_health_and_reflection_are_served(running: Running) -> None:
    with grpc.insecure_channel(running.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service="gnomon.v1.Delivery"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = next(stub.ServerReflectionInfo(iter([request]))).list_services_response
        assert "gnomon.v1.Rollouts" in {service.name for service in listed.service}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": "nowhere"}, "host:port"),
        ({"listen": "0.0.0.0:7400"}, "plain text on 0.0.0.0:7400 is refused"),
        ({"publishers": ()}, "no publisher key"),
        ({"certificate": Path("x")}, "needs its private key"),
        ({"client_authorities": Path("x")}, "need a certificate"),
        (WORLD_TLS, "would take orders from whoever reaches it"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    settings: ServerSettings, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(settings, **change)


def test_beyond_this_machine_mutual_tls_or_an_explicit_word_is_enough(
    settings: ServerSettings,
) -> None:
    for more in ({"client_authorities": Path("x")}, {"insecure": True}):
        replace(settings, **WORLD_TLS, **more)
    replace(settings, **{**WORLD_TLS, "listen": "127.0.0.1:7400"})


def test_one_key_in_both_roles_is_refused(settings: ServerSettings) -> None:
    with pytest.raises(ConfigurationError, match="as rollout and as publisher"):
        replace(settings, publishers=(settings.rollout_key.public_key(),))


def test_a_port_in_use_is_one_line(
    running: Running, settings: ServerSettings, tmp_path: Path
) -> None:
    other = replace(settings, listen=running.address, state=tmp_path / "other")

    async def start() -> None:
        plane = ControlPlane(other)
        try:
            await plane.start()
        finally:
            await plane.stop()

    with pytest.raises(ConfigurationError, match=f"cannot listen on {running.address}"):
        asyncio.run(start())
    assert not list((tmp_path / "other").glob("*.db")), "no file of a plane that never was"


def test_mutual_tls_lets_in_only_who_shows_a_certificate(
    settings: ServerSettings, tmp_path: Path
) -> None:
    authority, server, service = certificates(tmp_path)
    made = Running(
        replace(
            settings,
            certificate=server[0],
            private_key=server[1],
            client_authorities=authority,
        )
    )
    try:
        peer = Peer(made.address, authority, *service)
        with RolloutClient(peer) as client:
            assert client.list() == ()
        stranger = RolloutClient(Peer(made.address, authority), 2.0)
        with stranger, pytest.raises(UnavailableError):
            stranger.list()
    finally:
        made.stop()


def certificates(folder: Path) -> tuple[Path, tuple[Path, Path], tuple[Path, Path]]:
    """Make an authority and two certificates for 127.0.0.1 with the openssl command."""

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    pairs = []
    for name in ("server", "service"):
        openssl(
            "req",
            "-x509",
            *curve,
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
        pairs.append((folder / f"{name}.pem", folder / f"{name}.key"))
    return folder / "ca.pem", pairs[0], pairs[1]


def wait(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start ``gnomon serve`` in a process of its own; return it with its address."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gnomon", "serve", "--listen", "127.0.0.1:0"]
    command += ["--state", str(folder / "state"), "--ready-file", str(ready)]
    command += ["--rollout-key", str(folder / "rollout.pem")]
    command += ["--publisher-key", str(folder / "publisher.pub")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait(lambda: ready.exists() and ready.read_text() != "" or process.poll() is not None, 30.0)
    assert process.poll() is None
    return process, ready.read_text()


def test_sigkill_loses_no_acknowledged_transition(tmp_path: Path, publisher: Any) -> None:
    keys.save(publisher.rollout, tmp_path, "rollout", "rollout")
    keys.save(publisher.key, tmp_path, "publisher", "publisher")
    process, address = serve(tmp_path)
    try:
        with RolloutClient(address) as client:
            rollout = shipped(client, publisher, replace(QUICK, shadow_decisions=10**9))
        acknowledged = 1
        for attempt in range(3):
            with RolloutClient(address) as client:
                acknowledged = steer(client, rollout, acknowledged, time.monotonic() + 0.2)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            process, address = serve(tmp_path)
            with RolloutClient(address) as client:
                found = client.get(rollout)
                assert len(found.transitions) >= acknowledged, attempt
                acknowledged = len(found.transitions)
    finally:
        process.terminate()
        process.wait(10)
    assert process.returncode == 0
    ledger = Ledger(tmp_path / "state" / "ledger.db")
    assert ledger.verify().ok
    assert len(ledger.list(kind="rollout.transition")) == acknowledged
    ledger.close()


def steer(client: RolloutClient, rollout: str, made: int, until: float) -> int:
    """Hold and resume until a time; return how many transitions were acknowledged."""
    while time.monotonic() < until:
        state = client.get(rollout).state
        action = "resume" if state == rollouts_pb2.HOLD else "hold"
        made = len(client.act(rollout, action, "op", "drill").transitions)
    return made


def test_a_second_control_plane_on_one_state_folder_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match="in use by another")
    with alone_in(tmp_path), refused, alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass  # the lock ends with its holder
