"""Attacks on a running client: what the vectors cannot say, because it takes a disk, a stream or a setting."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.channel import Peer
from gnomon.sdk.config import Settings as Configured
from gnomon.sdk.config import from_environment
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.sdk.keyring import KeyRing
from gnomon.sdk.manifest import Anchors, ManifestGuard, Now
from gnomon.sdk.session import HookPolicy
from gnomon.sdk.state import Saved, StateStore
from gnomon.v1 import delivery_pb2, policy_pb2

HOOK = "router.pick"
SOURCE = "def score(inflight, ewma_ms):\n    return inflight\n"


@pytest.fixture
def client(world, hook, control, tmp_path):
    """Make clients of one state folder; each is stopped in the end."""
    made = []

    def start(port: int = control.port, **changes) -> DeliveryClient:
        told = {"anchors": world.anchors, "state_dir": tmp_path / "state"}
        told |= {"report_interval_s": 0.05}
        settings = Settings(Peer(f"127.0.0.1:{port}"), "shop", **(told | changes))
        client = DeliveryClient(lambda: [hook], settings, lambda: "ab" * 8, rng=random.Random(1))
        made.append(client)
        client.start()
        return client

    yield start
    assert all(client.stop() for client in made)


@pytest.fixture
def shipped(world):
    """Return a bundle of a program, and a maker of manifests that have it as stable."""
    world.now = Now(time.time_ns(), time.monotonic_ns())
    bundle = world.bundle(SOURCE)
    digest = bundle_digest(bundle.payload)
    plan = world.plan(candidate=digest)
    return (
        bundle,
        digest,
        lambda epoch, **more: world.stable(epoch, plan=plan, stable=digest, **more),
    )


def deliver(control, shipped, epoch: int) -> delivery_pb2.Ack:
    """Push the bundle and a manifest; return the answer to the manifest."""
    bundle, _, manifest = shipped
    control.bundle(bundle)
    assert control.ack().ok
    control.manifest(manifest(epoch))
    return control.ack()


def test_endless_data_ends_the_stream_and_nothing_else(
    client, control, shipped, hook, eventually
) -> None:
    running = client()
    assert deliver(control, shipped, 3).ok
    _, digest, _ = shipped
    before = len(hook.installed)
    control.pushes.put(b"\x0a" + b"\xff" * (5 << 20))
    eventually(lambda: running.status.connects > 1)
    assert hook.installed[-1].stable_digest == digest
    assert len(hook.installed) == before
    assert deliver(control, shipped, 4).ok, "the next stream is as good as any"


def test_a_bundle_signed_by_a_rollout_key_is_refused(client, control, world, shipped) -> None:
    client()
    control.bundle(world.bundle(SOURCE, signer=world.rollout))
    ack = control.ack()
    assert not ack.ok and "not a trusted key" in ack.error


@pytest.mark.parametrize("kind", [dsse.BUNDLE_TYPE, dsse.PLAN_TYPE, dsse.MANIFEST_TYPE])
def test_a_signature_for_one_type_is_worth_nothing_for_another(world, kind) -> None:
    for other in {dsse.BUNDLE_TYPE, dsse.PLAN_TYPE, dsse.MANIFEST_TYPE} - {kind}:
        envelope = dsse.sign(other, b"payload", world.publisher)
        envelope.payload_type = kind
        with pytest.raises(TrustError, match="does not match the payload"):
            dsse.verify(envelope, kind, world.anchors.publishers)


def test_a_state_folder_from_a_backup_is_overtaken_by_min_epoch(
    client, control, shipped, hook, make_hook, world, tmp_path, eventually
) -> None:
    first = client()
    assert deliver(control, shipped, 4).ok
    assert first.stop()
    hook.installed.clear()
    client(anchors=Anchors(world.anchors.publishers), min_epochs={HOOK: 7, "other": 90})
    control.hello()
    hello = control.hello()
    assert [state.epoch for state in hello.hooks] == [6], "so that the control plane goes on from 7"
    assert not hook.installed, "what the folder holds is too old to run"
    ack = deliver(control, shipped, 6)
    assert not ack.ok and "epoch 6 is below min_epoch 7" in ack.error
    assert deliver(control, shipped, 7).ok
    assert hook.installed[-1].epoch == 7


def test_a_state_folder_that_was_lost_is_replaced_by_min_epoch(client, control, shipped) -> None:
    client(min_epochs={HOOK: 5})
    assert not deliver(control, shipped, 4).ok
    assert deliver(control, shipped, 5).ok


@pytest.mark.parametrize(
    ("text", "found"),
    [("41", 41), ("router.pick=41, cache=7", {"router.pick": 41, "cache": 7})],
)
def test_min_epoch_is_a_number_or_one_for_each_hook(text: str, found) -> None:
    assert from_environment({"GNOMON_MIN_EPOCH": text})["min_epoch"] == found
    settings = Configured(min_epoch=found)
    assert (settings.least_epoch, dict(settings.least_epochs)) == (
        (41, {}) if text == "41" else (0, found)
    )


@pytest.mark.parametrize("text", ["x", "router.pick=", "router.pick=x", "=7", "a b=7"])
def test_a_min_epoch_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="GNOMON_MIN_EPOCH is"):
        from_environment({"GNOMON_MIN_EPOCH": text})
    if not text.startswith(("=", "a b")):
        with pytest.raises(ConfigurationError, match="is no epoch, write 41, or router.pick=41"):
            from_environment({"GNOMON_MIN_EPOCH": text})
    with pytest.raises(ConfigurationError, match="min_epoch is -1"):
        Configured(min_epoch={"router.pick": -1})


def test_a_revoked_keys_epoch_is_forgotten_on_the_disk_too(
    client, control, shipped, world, hook, tmp_path, eventually
) -> None:
    pinned = tmp_path / "pinned"
    keys.save(world.publisher, pinned, "ci", "publisher")
    keys.save(world.rollout, tmp_path / "plane", "rollout", "rollout")
    client(keyring=KeyRing([pinned]))
    assert deliver(control, shipped, 2**64 - 1).ok
    store = StateStore(tmp_path / "state")
    assert store.load(HOOK).epoch == 2**64 - 1
    revoked = keys.revoke(tmp_path / "plane" / "rollout.pub")
    revoked.rename(pinned / revoked.name)
    eventually(lambda: store.load(HOOK).epoch == 0)
    eventually(lambda: hook.installed[-1].stable is None)
    reborn = HookPolicy(HOOK, world.kind, "a", world.anchors, store.load(HOOK))
    assert reborn.guard.epoch == 0


def test_a_borrowed_keyid_of_a_revoked_key_makes_nobody_forget(world) -> None:
    guard = ManifestGuard(HOOK, world.anchors)
    envelope = world.manifest(9)
    stranger = keys.keyid(world.stranger.public_key())
    envelope.signatures.append(policy_pb2.Signature(keyid=stranger, sig=b"x" * 64))
    guard.commit(guard.check(envelope, world.now))
    guard.trust(Anchors(world.anchors.publishers, revoked=frozenset({stranger})))
    assert (guard.epoch, guard.current is None) == (9, False)


def test_abort_then_an_older_stable_then_a_retry_after_a_cold_restart(world) -> None:
    """The candidate of an earlier attempt may be named again: by a new manifest, under its plan."""
    older, newer = world.bundle(SOURCE), world.bundle(SOURCE.replace("inflight\n", "-inflight\n"))
    first, second = (bundle_digest(b.payload) for b in (older, newer))
    promoted = world.plan(candidate=first)
    trial = world.plan(id="plan-2", candidate=second, stable=first)

    def life(saved: Saved) -> HookPolicy:
        policy = HookPolicy(HOOK, world.kind, "a", world.anchors, saved)
        for digest, envelope in ((first, older), (second, newer)):
            policy.add_bundle(digest, envelope)
        return policy

    def canary(epoch: int, salt: bytes) -> policy_pb2.Envelope:
        trying = {"stable": first, "candidate": second, "salt": salt}
        return world.manifest(epoch, plan=trial, **trying)

    policy = life(Saved())
    policy.admit(world.stable(1, plan=promoted, stable=first), world.now)
    saved, running = policy.admit(canary(2, b"attempt1"), world.later(1))
    assert (running.stable_digest, running.candidate_digest) == (first, second)
    policy = life(saved)  # a cold restart in mid-canary: no lease
    assert policy.resumed().lease_until_ns == 0
    aborted = world.stable(3, plan=trial, stable=first)
    saved, running = policy.admit(aborted, world.later(1))
    assert (running.stable_digest, running.candidate) == (first, None)
    policy = life(saved)  # another after the abort: the older stable runs at once
    assert policy.resumed().stable_digest == first
    with pytest.raises(TrustError, match="older than 3"):
        policy.admit(canary(2, b"attempt1"), world.later(1))
    saved, running = policy.admit(canary(4, b"attempt2"), world.later(1))
    assert (running.candidate_digest, running.epoch) == (second, 4)
    policy = life(saved)  # and a third one in the retry: its renewal brings the candidate back
    saved, running = policy.admit(canary(4, b"attempt2"), world.now)
    assert running.candidate_digest == second
    assert running.lease_until_ns > world.now.monotonic_ns


def test_a_key_ring_is_read_again_only_when_it_changed(tmp_path: Path, caplog) -> None:
    keys.save(keys.generate(), tmp_path, "a", "publisher")
    keys.save(keys.generate(), tmp_path, "plane", "rollout")
    ring = KeyRing([tmp_path])
    assert len(ring.read().publishers) == 1, "a rollout key in the folder is not a publisher's"
    assert ring.changed() is None
    keys.save(keys.generate(), tmp_path, "b", "publisher")
    pins = ring.changed()
    assert pins is not None
    assert sorted(pins.names.values()) == ["a.pub", "b.pub"]
    (tmp_path / "c.pub").write_text("half a fi")
    assert ring.changed() is None
    assert "the pinned keys stay as they were" in caplog.text
    (tmp_path / "c.pub").unlink()
    keys.revoke(tmp_path / "a.pub")
    pins = ring.changed()
    assert pins is not None
    assert (len(pins.publishers), len(pins.revoked)) == (1, 1)


def test_a_key_file_that_was_revoked_beside_itself_is_not_missed(tmp_path: Path) -> None:
    keys.save(keys.generate(), tmp_path, "a", "publisher")
    ring = KeyRing([tmp_path / "a.pub"])
    keys.revoke(tmp_path / "a.pub")
    pins = ring.changed()
    assert pins is not None
    assert (pins.publishers, len(pins.revoked)) == ((), 1)
    with pytest.raises(ConfigurationError, match="no publisher key in"):
        (tmp_path / "empty").mkdir()
        KeyRing([tmp_path / "empty"]).read()
    keys.save(keys.generate(), tmp_path, "b", "publisher")
    (tmp_path / "b.revoked").mkdir()
    with pytest.raises(ConfigurationError, match="cannot rename"):
        keys.revoke(tmp_path / "b.pub")
