"""Keys come and go: rotation without an outage, revocation at once, recovery from a stolen key."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.policies.rollout import resigning
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.identity import Identity
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.sdk import dsse, keys
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.errors import RolloutError, TrustError
from gnomon.sdk.keyring import KeyRing
from gnomon.sdk.manifest import Anchors
from gnomon.sdk.measure import BlockMeasure
from gnomon.v1 import policy_pb2

from .conftest import HOOK, KIND, World
from .test_server import QUICK, Running

PATIENCE_S = 15.0


def faster(arm: str, block: int) -> float:
    return 30.0 + block % 5 if arm == "candidate" else 60.0 + block % 5


def stable(world: World) -> str:
    """Ship a policy and have it promoted; return its digest."""
    world.ship()
    assert world.run(120, faster, until="STABLE") == "STABLE"
    return world.control.get().plan.candidate


def identity(world: World, *pinned: Ed25519PrivateKey, **more: Any) -> Identity:
    return Identity(world.publisher.rollout, [key.public_key() for key in pinned], **more)


def trust(world: World, *pinned: Ed25519PrivateKey) -> list[Assignment]:
    """Pin keys in every process; return what those run that do not run what they ran."""
    anchors = Anchors(tuple(key.public_key() for key in pinned))
    found = [process.policy.trust(anchors) for process in world.processes]
    return [assignment for assignment in found if assignment is not None]


def signed_again(world: World, key: Ed25519PrivateKey, **plan: Any) -> None:
    """Have the control plane's only hook signed by another key."""
    (found,) = world.control.signed()
    words = policy_pb2.RampPlan.FromString(found.plan.payload)
    for name, value in plan.items():
        setattr(words, name, value)
    payload = words.SerializeToString(deterministic=True) if plan else found.plan.payload
    again = [dsse.sign(dsse.BUNDLE_TYPE, bundle.payload, key) for bundle in found.bundles]
    world.control.resign(HOOK, dsse.sign(dsse.PLAN_TYPE, payload, key), again, "ci")


def running(world: World) -> list[str]:
    """Return what every process runs as stable now."""
    return [process.policy.resumed().stable_digest for process in world.processes]


def test_a_stable_policy_survives_the_rotation_of_its_publisher_key(world: World) -> None:
    digest, old, new = stable(world), world.publisher.key, keys.generate()
    assert running(world) == [digest] * 2
    world.control.trust(identity(world, old, new))
    assert trust(world, old, new) == []
    epoch = world.control.epoch(HOOK)
    signed_again(world, new)
    assert world.control.epoch(HOOK) == epoch + 1
    signed_again(world, new)
    assert world.control.epoch(HOOK) == epoch + 1, "the same signatures again change nothing"
    # the bundle is pushed again with the new signature: what a stream does once it is told
    for process in world.processes:
        process.policy.programs.clear()
    world.push(HOOK)
    assert trust(world, new) == [], "nothing stops running"
    world.control.trust(identity(world, new))
    assert running(world) == [digest] * 2
    assert world.status == "STABLE"
    world.publisher.key = new
    world.restart()
    late = world.join("cc")
    assert late.policy.resumed().stable_digest == digest
    assert world.ledger.verify().ok
    (entry,) = [entry for entry in world.ledger.list() if entry.kind == "keys.resigned"]
    assert set(entry.body["plan_signed_by"]) == {keys.keyid(key.public_key()) for key in (old, new)}


def test_without_a_second_signature_the_old_key_stays_needed(world: World) -> None:
    stable(world)
    new = keys.generate()
    with pytest.raises(TrustError, match="runs a plan signed by .* which is not pinned; pin it"):
        world.control.trust(identity(world, new))
    world.push(HOOK)
    assert world.status == "STABLE", "the keys stay as they were"
    world.publisher.key, old = new, world.publisher.key
    world.close()
    with pytest.raises(TrustError, match="gnomon keys resign"):
        world.open()
    world.publisher.key = old
    world.control = world.open()


def test_a_revoked_key_is_taken_back_everywhere_at_once(world: World) -> None:
    digest, old, new = stable(world), world.publisher.key, keys.generate()
    revoked = frozenset({keys.keyid(old.public_key())})
    world.control.trust(identity(world, old, new))
    world.control.trust(identity(world, new, revoked=revoked))
    assert world.status == "ABORTED"
    assert [process.manifest.kill for process in world.processes] == [True, True]
    last = world.control.get().transitions[-1]
    assert (last.order, last.actor) == ("kill", "control plane")
    assert "which is revoked" in last.cause
    assert all(process.manifest.stable != digest for process in world.processes)
    with pytest.raises(TrustError, match="not a trusted key"):
        world.ship()
    world.publisher.key = new
    trust(world, new)
    world.ship(source="def score(inflight):\n    return inflight + 1.0\n", calibration="c2")
    assert world.run(1, faster) in ("SHADOW", "CANARY"), "and another key ships again"


def test_a_full_disk_puts_a_revocation_off_and_no_manifest_goes_out_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stable(world)
    old, new = world.publisher.key, keys.generate()
    revoked = frozenset({keys.keyid(old.public_key())})
    world.control.trust(identity(world, old, new))

    def full(*args: Any) -> None:
        raise RolloutError("the store cannot be written: database or disk is full")

    with monkeypatch.context() as disk:
        disk.setattr(world.control._store, "save", full)
        with pytest.raises(RolloutError, match="is full"):
            world.control.trust(identity(world, new, revoked=revoked))
        for _ in range(2):
            assert world.control.pushes(HOOK, ()) == [], "nobody is told to run it again"
            with pytest.raises(RolloutError, match="is full"):
                world.control.tick()
        assert world.status == "STABLE"
    world.control.tick()
    assert world.status == "ABORTED"
    assert world.control.get().killed


def test_on_hold_nothing_is_brought_back_that_a_revoked_key_signed(world: World) -> None:
    world.ship()
    assert world.run(60, faster, until="CANARY") == "CANARY"
    rollout, new = world.control.get().plan.id, keys.generate()
    world.control.act(rollout, "hold", "op", "a look", "q1")
    revoked = frozenset({keys.keyid(world.publisher.key.public_key())})
    world.control.trust(identity(world, new, revoked=revoked))
    world.control.tick()
    assert world.status == "HOLD", "nothing runs that could be taken back"
    for order in ("resume", "promote"):
        with pytest.raises(TrustError, match="would run a plan signed by .* which is not pinned"):
            world.control.act(rollout, order, "op", "go on", f"q-{order}")
    assert world.status == "HOLD"
    signed_again(world, new)
    world.control.act(rollout, "resume", "op", "signed again", "q2")
    assert world.status == "CANARY"


def test_a_process_drops_what_a_revoked_key_signed_without_being_told(world: World) -> None:
    digest, process = stable(world), world.processes[0]
    assert process.policy.resumed().stable_digest == digest
    dropped = process.policy.trust(Anchors((keys.generate().public_key(),)))
    assert dropped is not None
    assert dropped.stable is None and dropped.candidate is None
    assert process.policy.programs == {}
    assert process.policy.guard.epoch == world.control.epoch(HOOK), "the epoch stays"


def test_a_rollout_key_is_rotated_while_a_canary_runs(world: World) -> None:
    world.ship()
    assert world.run(60, faster, until="CANARY") == "CANARY"
    old, new = world.publisher.rollout, keys.generate()
    pinned = (world.publisher.key.public_key(),)
    world.control.trust(Identity(new, pinned, older=(old,)))
    assert world.run(5, faster) == "CANARY", "the old key still signs under the old plan"
    public = new.public_key()
    fields = {"rollout_keyid": keys.keyid(public), "rollout_public_key": keys.raw(public)}
    signed_again(world, world.publisher.key, **fields)
    world.control.trust(Identity(new, pinned))
    for process in world.processes:
        names = process.policy.guard.current.plan.rollout_keyid
        assert names == keys.keyid(public)
    anchors = Anchors(pinned, revoked=frozenset({keys.keyid(old.public_key())}))
    assert [process.policy.trust(anchors) for process in world.processes] == [None, None]
    assert world.run(120, faster, until="STABLE") == "STABLE"


def test_without_the_key_that_a_plan_names_nothing_is_said_under_it(world: World, caplog) -> None:
    digest = stable(world)
    world.control.trust(Identity(keys.generate(), (world.publisher.key.public_key(),)))
    assert world.control.pushes(HOOK, ()) == []
    assert "its plan is for another rollout key" in caplog.text
    assert running(world) == [digest] * 2, "what is stable goes on"


@pytest.mark.parametrize("wrong", ["stranger", "another plan", "another key", "another bundle"])
def test_only_what_is_in_force_is_signed_again(world: World, wrong: str) -> None:
    stable(world)
    epoch, key = world.control.epoch(HOOK), world.publisher.key
    if wrong == "stranger":
        with pytest.raises(TrustError, match="not a trusted key"):
            signed_again(world, keys.generate())
    elif wrong == "another plan":
        with pytest.raises(RolloutError, match="is not the one in force"):
            signed_again(world, key, lease_ns=1, rollout_keyid=world.control.rollout_keyids()[0])
    elif wrong == "another key":
        with pytest.raises(RolloutError, match="start it with --rollout-key"):
            signed_again(world, key, rollout_keyid="ab" * 32)
    else:
        other = world.publisher.bundle("def score(inflight):\n    return -inflight\n")
        with pytest.raises(RolloutError, match="no bundle"):
            world.control.resign(HOOK, None, [other], "ci")
    with pytest.raises(RolloutError, match="has no rollout"):
        world.control.resign("other.hook", None, [], "ci")
    assert world.control.epoch(HOOK) == epoch


def test_a_fast_forward_by_a_stolen_rollout_key_is_recovered_by_revoking_it(world: World) -> None:
    digest, process = stable(world), world.processes[0]
    old, new = world.publisher.rollout, keys.generate()
    now, plan = world.clock.now, policy_pb2.Envelope()
    (found,) = world.control.signed()
    plan.CopyFrom(found.plan)
    forged = policy_pb2.Manifest(hook=HOOK, epoch=2**64 - 1, kill=True, issued_unix_ns=now)
    forged.plan.CopyFrom(plan)
    from gnomon.v1 import delivery_pb2

    envelope = dsse.sign(dsse.MANIFEST_TYPE, forged.SerializeToString(), old)
    push = delivery_pb2.ManifestPush(hook=HOOK, envelope=envelope)
    assert process.receive(delivery_pb2.ServerMessage(nonce="x", manifest=push), now).ok
    world.push(HOOK, [process])
    assert process.manifest.kill, "no honest epoch is higher any more"
    pinned = (world.publisher.key.public_key(),)
    world.control.trust(Identity(new, pinned, older=(old,)))
    public = new.public_key()
    fields = {"rollout_keyid": keys.keyid(public), "rollout_public_key": keys.raw(public)}
    signed_again(world, world.publisher.key, **fields)
    process.policy.trust(Anchors(pinned, revoked=frozenset({keys.keyid(old.public_key())})))
    assert process.policy.guard.epoch == 0
    world.greet(process)
    assert process.manifest.epoch == world.control.epoch(HOOK)
    assert process.policy.resumed().stable_digest == digest
    again = process.receive(delivery_pb2.ServerMessage(nonce="y", manifest=push), now)
    assert not again.ok and "not a trusted key" in again.error


class FakeHook:
    """A hook that only remembers what was installed."""

    name, kind = HOOK, KIND
    breaker = killed = ""
    has_outcomes = True

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.measure: Any = None
        self.installed: list[Assignment] = [Assignment()]

    def new_measure(self) -> BlockMeasure:
        return BlockMeasure(self.kind)

    def install(self, assignment: Assignment) -> None:
        self.installed.append(assignment)


class Service:
    """A process of a service: the real delivery client with a hook that remembers."""

    def __init__(self, address: str, pinned: Path, state: Path) -> None:
        self.hook, ring = FakeHook(), KeyRing([pinned])
        pins = ring.read()
        told = Settings(
            Peer(address),
            "router",
            Anchors(pins.publishers, revoked=pins.revoked),
            state_dir=state,
            keyring=ring,
        )
        self.client = DeliveryClient(lambda: [self.hook], told, lambda: "ab" * 8)
        self.client.start()

    @property
    def digests(self) -> tuple[str, str]:
        found = self.hook.installed[-1]
        return found.stable_digest, found.candidate_digest


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class Fleet:
    """A control plane and a service, each with a folder of pinned keys that tests write to."""

    def __init__(self, folder: Path, rollout: Ed25519PrivateKey) -> None:
        self.folder, self.plane_keys, self.service_keys = folder, folder / "cp", folder / "svc"
        self.private = self.pin("first", keys.generate())
        ring = KeyRing([self.plane_keys])
        settings = ServerSettings(
            "127.0.0.1:0",
            folder / "state",
            rollout,
            ring.read().publishers,
            keyring=ring,
        )
        self.running = Running(settings)
        self.service = Service(self.running.address, self.service_keys, folder / "service")
        self.client = RolloutClient(self.running.address)

    def pin(self, name: str, key: Ed25519PrivateKey) -> Ed25519PrivateKey:
        keys.save(key, self.folder / "own", name, "publisher")
        for pinned in (self.plane_keys, self.service_keys):
            pinned.mkdir(exist_ok=True)
            shutil.copy(self.folder / "own" / f"{name}.pub", pinned)
        return key

    def stop(self) -> None:
        self.client.close()
        assert self.service.client.stop()
        self.running.stop()


@pytest.fixture
def fleet(tmp_path: Path, publisher: Any) -> Iterator[Fleet]:
    made = Fleet(tmp_path, publisher.rollout)
    yield made
    made.stop()


def begin(fleet: Fleet, publisher: Any) -> str:
    """Ship a policy past the shadow to full weight; return its digest."""
    signer = type(publisher)(fleet.private, publisher.rollout)
    ramp = replace(QUICK, shadow_decisions=0, soak_s=3600.0)
    bundle = signer.bundle()
    rollout = fleet.client.create(bundle, signer.plan(bundle, time.time_ns(), ramp), "ci")
    fleet.client.act(rollout.id, "promote", "op", "a test")
    eventually(lambda: fleet.service.digests[1] == rollout.candidate)
    digest: str = rollout.candidate
    return digest


def test_a_rotation_over_the_wire_never_stops_the_policy(fleet: Fleet, publisher: Any) -> None:
    digest = begin(fleet, publisher)
    new = fleet.pin("second", keys.generate())
    eventually(lambda: len(fleet.running.plane.settings.publishers) == 2)
    before = len(fleet.service.hook.installed)
    (again,) = resigning.resign(fleet.client, new, [fleet.private.public_key()], "ci")
    assert (again.hook, again.bundles) == (HOOK, (digest,))
    eventually(lambda: fleet.client.clients()[0].epoch == fleet.client.get().epoch)
    for pinned in (fleet.plane_keys, fleet.service_keys):
        (pinned / "first.pub").unlink()
    eventually(lambda: len(fleet.running.plane.settings.publishers) == 1)
    eventually(lambda: fleet.service.client.status.connects > 1)
    eventually(lambda: fleet.service.client.status.connected)
    eventually(lambda: fleet.client.get().acked == 1)
    assert {found.candidate_digest for found in fleet.service.hook.installed[before:]} == {digest}
    assert fleet.service.client.status.refused == 0


def test_a_stolen_publisher_key_is_revoked_without_a_restart(fleet: Fleet, publisher: Any) -> None:
    begin(fleet, publisher)
    for pinned in (fleet.service_keys, fleet.plane_keys):
        keys.revoke(pinned / "first.pub")
    eventually(lambda: fleet.service.digests == ("incumbent", ""))
    eventually(lambda: fleet.client.get().state == 8)  # ABORTED
    assert "which is revoked" in fleet.client.get().transitions[-1].cause
    with pytest.raises(TrustError, match="not a trusted key"):
        begin(fleet, publisher)
    new = fleet.pin("second", keys.generate())
    eventually(lambda: len(fleet.running.plane.settings.publishers) == 1)
    eventually(lambda: new.public_key() in fleet.service.client._holdings.anchors.publishers)
    fleet.private = new
    begin(fleet, publisher)


def test_what_no_trusted_key_signed_is_not_signed_again(fleet: Fleet, publisher: Any) -> None:
    begin(fleet, publisher)
    with pytest.raises(TrustError, match="nothing of it was signed again"):
        resigning.resign(fleet.client, fleet.private, [keys.generate().public_key()], "ci")
