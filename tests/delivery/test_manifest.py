"""The client's rules on manifests: one test per attack, one per promise."""

from __future__ import annotations

import math

import pytest

from gnomon.sdk import dsse, keys
from gnomon.sdk.errors import TrustError
from gnomon.sdk.manifest import Anchors, ManifestGuard
from gnomon.sdk.state import Saved
from gnomon.v1 import policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"
PHASE = policy_pb2.Phase


@pytest.fixture
def guard(world) -> ManifestGuard:
    return ManifestGuard(HOOK, world.anchors)


def admit(guard: ManifestGuard, envelope, now):
    admitted = guard.check(envelope, now)
    guard.commit(admitted)
    return admitted


def test_a_canary_within_its_plan_is_accepted(world, guard) -> None:
    admitted = admit(guard, world.manifest(7), world.now)
    assert guard.epoch == 7
    assert admitted.plan.id == "plan-1"
    assert admitted.lease_until_ns == world.now.monotonic_ns + 10 * SECOND


def test_check_alone_changes_nothing(world, guard) -> None:
    guard.check(world.manifest(7), world.now)
    assert guard.epoch == 0
    assert guard.current is None


def test_forgery_every_wrong_signer_is_refused(world, guard) -> None:
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(1, signer=world.stranger), world.now)
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(1, signer=world.publisher), world.now)
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(1, plan=world.plan(signer=world.stranger)), world.now)
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(1, plan=world.plan(signer=world.rollout)), world.now)


def test_forgery_an_altered_manifest_is_refused(world, guard) -> None:
    envelope = world.manifest(1)
    manifest = policy_pb2.Manifest.FromString(envelope.payload)
    manifest.weight = 0.5
    envelope.payload = manifest.SerializeToString()
    with pytest.raises(TrustError, match="does not match the payload"):
        guard.check(envelope, world.now)


def test_a_plan_that_names_one_key_and_holds_another_is_refused(world, guard) -> None:
    plan = world.plan(rollout_keyid=keys.keyid(world.stranger.public_key()))
    with pytest.raises(TrustError, match="holds another"):
        guard.check(world.manifest(1, plan=plan), world.now)
    with pytest.raises(TrustError, match="32 bytes"):
        guard.check(world.manifest(1, plan=world.plan(rollout_public_key=b"x")), world.now)


def test_a_plan_that_makes_its_publisher_the_rollout_key_is_refused(world, guard) -> None:
    public = world.publisher.public_key()
    named = {"rollout_keyid": keys.keyid(public), "rollout_public_key": keys.raw(public)}
    envelope = world.manifest(1, signer=world.publisher, plan=world.plan(**named))
    with pytest.raises(TrustError, match="as rollout and as publisher"):
        guard.check(envelope, world.now)


def test_replay_of_an_older_epoch_is_refused(world, guard) -> None:
    old = world.manifest(3)
    admit(guard, old, world.now)
    admit(guard, world.manifest(4, weight=0.5), world.now)
    for replayed in (old, world.manifest(3, weight=0.1), world.manifest(0)):
        with pytest.raises(TrustError, match="older than 4"):
            guard.check(replayed, world.now)


def test_rollback_across_a_restart_is_refused(world, guard) -> None:
    saved = admit(guard, world.manifest(9), world.now).saved
    reborn = ManifestGuard(HOOK, world.anchors, saved)
    assert reborn.epoch == 9
    with pytest.raises(TrustError, match="older than 9"):
        reborn.check(world.manifest(8), world.now)
    admit(reborn, world.manifest(10, weight=0.5), world.now)


def test_an_old_bundle_may_be_named_again_by_a_new_manifest(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    admit(guard, world.stable(2), world.now)
    again = admit(guard, world.manifest(3), world.now)
    assert again.manifest.candidate == "b" * 64


def test_freeze_a_manifest_long_out_of_date_is_refused(world, guard) -> None:
    frozen = world.manifest(1)
    with pytest.raises(TrustError, match="expired"):
        guard.check(frozen, world.later(10 + 60 + 1))


def test_freeze_the_same_manifest_again_extends_no_lease(world, guard) -> None:
    envelope = world.manifest(1)
    first = admit(guard, envelope, world.now)
    again = admit(guard, envelope, world.later(4))
    assert again.lease_until_ns == first.lease_until_ns


def test_a_manifest_from_the_future_is_refused(world, guard) -> None:
    ahead = world.manifest(1, issued_unix_ns=world.now.unix_ns + 61 * SECOND)
    with pytest.raises(TrustError, match="ahead of this machine's clock"):
        guard.check(ahead, world.now)


def test_a_renewal_extends_the_lease(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    plan = guard.current.manifest.plan
    world.later(3)
    renewed = admit(guard, world.manifest(1, plan=plan), world.now)
    assert renewed.lease_until_ns == world.now.monotonic_ns + 10 * SECOND


def test_a_renewal_may_change_nothing_but_the_time(world, guard) -> None:
    plan = world.plan()
    admit(guard, world.manifest(1, plan=plan), world.now)
    world.later(3)
    for change in (
        {"weight": 0.5},
        {"weight": 0.1},
        {"salt": b"another salt"},
        {"phase": PHASE.PHASE_FULL},
        {"lease_ns": 20 * SECOND},
        {"stable": "c" * 64},
    ):
        with pytest.raises(TrustError, match="another content"):
            guard.check(world.manifest(1, plan=plan, **change), world.now)
    with pytest.raises(TrustError, match="before the one in force"):
        earlier = world.now.unix_ns - 5 * SECOND
        guard.check(world.manifest(1, plan=plan, issued_unix_ns=earlier), world.now)


def test_mix_and_match_another_candidate_or_stable_is_refused(world, guard) -> None:
    for change in ({"candidate": "c" * 64}, {"stable": "c" * 64}, {"candidate": "incumbent"}):
        with pytest.raises(TrustError, match="not those of the ramp plan"):
            guard.check(world.manifest(1, **change), world.now)


def test_mix_and_match_a_plan_or_manifest_of_another_hook_is_refused(world, guard) -> None:
    with pytest.raises(TrustError, match="plan is for hook 'cache'"):
        guard.check(world.manifest(1, plan=world.plan(hook="cache")), world.now)
    with pytest.raises(TrustError, match="manifest is for hook 'cache'"):
        guard.check(world.manifest(1, hook="cache"), world.now)


def test_mix_and_match_a_plan_shown_as_a_manifest_is_refused(world, guard) -> None:
    with pytest.raises(TrustError):
        guard.check(world.plan(signer=world.rollout), world.now)


@pytest.mark.parametrize("weight", [0.6, 1.0, 2.0, -0.1, math.nan, math.inf])
def test_weights_beyond_plan_or_phase_are_refused(world, guard, weight) -> None:
    with pytest.raises(TrustError, match="weight"):
        guard.check(world.manifest(1, weight=weight), world.now)


def test_the_plan_bounds_the_weight(world, guard) -> None:
    plan = world.plan(weights=[0.1, 0.2])
    with pytest.raises(TrustError, match=r"beyond the ramp plan's 0\.2"):
        guard.check(world.manifest(1, plan=plan), world.now)
    admit(guard, world.manifest(1, plan=plan, weight=0.2), world.now)
    for weight in (0.2, 1.0):
        with pytest.raises(TrustError, match="never goes to full"):
            full = {"phase": PHASE.PHASE_FULL, "weight": weight}
            guard.check(world.manifest(2, plan=plan, **full), world.now)
    with pytest.raises(TrustError, match="does not allow"):
        guard.check(world.stable(2, plan=plan, stable="b" * 64), world.now)


def test_any_weight_above_a_half_means_full(world, guard) -> None:
    plan = world.plan(weights=[0.25, 0.6])
    with pytest.raises(TrustError, match="phase canary with weight"):
        guard.check(world.manifest(1, plan=plan, weight=0.6), world.now)
    for weight in (1.1, math.nan):
        with pytest.raises(TrustError, match="beyond"):
            full = {"phase": PHASE.PHASE_FULL, "weight": weight}
            guard.check(world.manifest(1, plan=plan, **full), world.now)
    full = {"phase": PHASE.PHASE_FULL, "weight": 1.0}
    assert admit(guard, world.manifest(1, plan=plan, **full), world.now).lease_until_ns


def test_an_expired_plan_gives_nothing_to_a_candidate(world, guard) -> None:
    plan = world.plan(not_after_unix_ns=world.now.unix_ns + 5 * SECOND)
    admit(guard, world.manifest(1, plan=plan), world.now)
    world.later(6)
    for renewed in (world.manifest(1, plan=plan), world.manifest(2, plan=plan, weight=0.5)):
        with pytest.raises(TrustError, match="ramp plan has expired"):
            guard.check(renewed, world.now)
    with pytest.raises(TrustError, match="ramp plan has expired"):
        guard.check(world.stable(3, plan=plan, stable="b" * 64), world.now)
    admit(guard, world.stable(3, plan=plan), world.now)


DAY = 24 * 3600


@pytest.mark.parametrize("past", ["nothing", "canary", "aborted", "killed"])
def test_an_expired_plan_promotes_nothing_that_did_not_run_in_full(world, guard, past) -> None:
    plan, full = world.plan(), {"phase": PHASE.PHASE_FULL, "weight": 1.0}
    if past == "canary":
        admit(guard, world.manifest(1, plan=plan), world.now)
    if past in ("aborted", "killed"):
        admit(guard, world.manifest(1, plan=plan, **full), world.now)
        end = world.stable(2, plan=plan) if past == "aborted" else world.manifest(2, kill=True)
        admit(guard, end, world.now)
    world.later(10 * DAY)
    reborn = ManifestGuard(HOOK, world.anchors, guard.current.saved if guard.current else None)
    for one in (guard, reborn):
        with pytest.raises(TrustError, match="ramp plan has expired; ship again"):
            one.check(world.stable(3, plan=plan, stable="b" * 64), world.now)
        admit(one, world.stable(3, plan=plan), world.now)


def test_an_unexpired_plan_promotes_in_a_process_that_has_just_begun(world, guard) -> None:
    admitted = admit(guard, world.stable(5, stable="b" * 64), world.now)
    assert admitted.manifest.stable == "b" * 64


def test_what_ran_in_full_is_promoted_after_the_plan_ended(world, guard) -> None:
    plan = world.plan()
    full = world.manifest(1, plan=plan, phase=PHASE.PHASE_FULL, weight=1.0)
    reborn = ManifestGuard(HOOK, world.anchors, admit(guard, full, world.now).saved)
    world.later(10 * DAY)
    for one in (guard, reborn):
        promoted = admit(one, world.stable(2, plan=plan, stable="b" * 64), world.now)
        assert promoted.manifest.stable == "b" * 64


def test_a_promoted_policy_outlives_its_plan_and_restarts(world, guard) -> None:
    plan = world.plan()
    saved = admit(guard, world.stable(1, plan=plan, stable="b" * 64), world.now).saved
    world.later(10 * DAY)
    reborn = ManifestGuard(HOOK, world.anchors, saved)
    assert reborn.current.manifest.stable == "b" * 64
    for one in (guard, reborn):
        renewed = admit(one, world.stable(1, plan=plan, stable="b" * 64), world.now)
        assert renewed.lease_until_ns == world.now.monotonic_ns + 10 * SECOND
        admit(one, world.stable(2, plan=plan, stable="b" * 64), world.now)


def test_a_later_plan_against_a_promoted_policy_brings_it_to_new_processes(world, guard) -> None:
    world.later(10 * DAY)
    plan = world.plan(stable="b" * 64, candidate="c" * 64, id="plan-2")
    admit(guard, world.stable(4, plan=plan, stable="b" * 64), world.now)


def test_the_lease_may_not_exceed_the_plans(world, guard) -> None:
    with pytest.raises(TrustError, match="exceeds the plan's"):
        guard.check(world.manifest(1, lease_ns=11 * SECOND), world.now)
    with pytest.raises(TrustError, match="no lease"):
        guard.check(world.manifest(1, lease_ns=0), world.now)


def test_a_raise_without_a_plan_is_refused(world, guard) -> None:
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(1, plan=None), world.now)
    pinned = ManifestGuard(HOOK, Anchors(world.anchors.publishers, (world.rollout.public_key(),)))
    with pytest.raises(TrustError, match="without a ramp plan"):
        pinned.check(world.manifest(1, plan=None), world.now)


@pytest.mark.parametrize(
    "bad",
    [
        {"weights": []},
        {"weights": [0.0]},
        {"weights": [1.5]},
        {"weights": [math.nan]},
        {"block_ns": 0},
        {"burn_in_ns": 2 * SECOND},
        {"skew_ns": -1},
        {"lease_ns": 0},
        {"candidate": ""},
        {"shadow_rate": 2.0},
        {"arms": policy_pb2.ARMS_STICKY},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(world, guard, bad) -> None:
    with pytest.raises(TrustError):
        guard.check(world.manifest(1, plan=world.plan(**bad)), world.now)


def test_unknown_phases_short_salts_and_shadow_weights_are_refused(world, guard) -> None:
    for change, reason in (
        ({"phase": PHASE.PHASE_UNSPECIFIED}, "unknown phase"),
        ({"salt": b"short"}, "salt"),
        ({"phase": PHASE.PHASE_SHADOW}, "phase shadow"),
    ):
        with pytest.raises(TrustError, match=reason):
            guard.check(world.manifest(1, **change), world.now)
    with pytest.raises(TrustError, match="phase stable names"):
        guard.check(world.stable(1, stable="b" * 64, candidate="b" * 64), world.now)


def test_garbage_is_refused(world, guard) -> None:
    for payload in (b"", b"\xff\xff\xff", b"\n\x0brouter.pick"):
        with pytest.raises(TrustError):
            guard.check(dsse.sign(dsse.MANIFEST_TYPE, payload, world.rollout), world.now)
    with pytest.raises(TrustError, match="exceeds"):
        huge = bytes(dsse.MAX_PAYLOAD + 1)
        guard.check(dsse.sign(dsse.MANIFEST_TYPE, huge, world.rollout), world.now)


def test_a_kill_needs_no_plan_no_lease_and_no_clock(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    kill = world.manifest(2, plan=None, kill=True, issued_unix_ns=0, lease_ns=0)
    assert admit(guard, kill, world.now).manifest.kill
    assert admit(guard, kill, world.later(1)).manifest.kill, "sent again on another stream"


def test_a_kill_is_taken_from_the_publisher_but_from_no_stranger(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    with pytest.raises(TrustError, match="not a trusted key"):
        guard.check(world.manifest(2, signer=world.stranger, kill=True), world.now)
    admit(guard, world.manifest(2, signer=world.publisher, plan=None, kill=True), world.now)


def test_a_kill_survives_a_bad_plan_inside(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    kill = world.manifest(2, plan=world.plan(signer=world.stranger), kill=True)
    assert admit(guard, kill, world.now).manifest.kill


def test_an_old_kill_cannot_be_replayed(world, guard) -> None:
    kill = world.manifest(1, kill=True)
    admit(guard, kill, world.now)
    admit(guard, world.manifest(2), world.now)
    with pytest.raises(TrustError, match="older"):
        guard.check(kill, world.now)


def test_after_a_kill_only_a_full_manifest_brings_a_policy_back(world, guard) -> None:
    admit(guard, world.manifest(1), world.now)
    admit(guard, world.manifest(2, kill=True), world.now)
    with pytest.raises(TrustError, match="lease"):
        guard.check(world.manifest(3, weight=0.01, lease_ns=0), world.now)
    admit(guard, world.manifest(3), world.now)


def test_a_lower_weight_needs_no_freshness_and_extends_no_lease(world, guard) -> None:
    plan = world.plan(not_after_unix_ns=world.now.unix_ns + SECOND)
    first = admit(guard, world.manifest(1, plan=plan, weight=0.5), world.now)
    stale = {"issued_unix_ns": world.now.unix_ns - 3600 * SECOND, "plan": plan}
    world.later(2)
    lower = admit(guard, world.manifest(2, weight=0.25, **stale), world.now)
    assert lower.lease_until_ns == first.lease_until_ns
    with pytest.raises(TrustError):
        guard.check(world.manifest(3, weight=0.5, **stale), world.now)
    admit(guard, world.stable(3, **stale), world.now)


def test_lowering_without_a_plan_is_signed_by_the_last_plans_key(world, guard) -> None:
    admit(guard, world.manifest(1, weight=0.5), world.now)
    admit(guard, world.manifest(2, weight=0.25, plan=None), world.now)
    saved = admit(guard, world.stable(3, plan=None), world.now).saved
    reborn = ManifestGuard(HOOK, world.anchors, saved)
    admit(reborn, world.stable(4, plan=None), world.now)
    with pytest.raises(TrustError):
        reborn.check(world.stable(5, plan=None, signer=world.stranger), world.now)


def test_lowering_from_full_does_not_smuggle_in_a_large_canary(world, guard) -> None:
    full = {"phase": PHASE.PHASE_FULL, "weight": 1.0, "salt": b""}
    admit(guard, world.manifest(1, **full), world.now)
    for change in ({"weight": 0.9}, {"weight": 0.5, "salt": b""}):
        with pytest.raises(TrustError):
            guard.check(world.manifest(2, **change, lease_ns=0), world.now)
    admit(guard, world.stable(2, lease_ns=0), world.now)


def test_min_epoch_replaces_lost_state(world) -> None:
    guard = ManifestGuard(HOOK, Anchors(world.anchors.publishers, min_epoch=5))
    for old in (world.manifest(4), world.manifest(4, kill=True)):
        with pytest.raises(TrustError, match="min_epoch 5"):
            guard.check(old, world.now)
    admit(guard, world.manifest(5), world.now)


def test_min_epoch_drops_an_older_manifest_from_disk(world, guard) -> None:
    saved = admit(guard, world.manifest(4), world.now).saved
    reborn = ManifestGuard(HOOK, Anchors(world.anchors.publishers, min_epoch=5), saved)
    assert reborn.current is None


def test_a_restart_runs_no_candidate_before_the_control_plane_speaks(world, guard) -> None:
    envelope = world.manifest(1)
    saved = admit(guard, envelope, world.now).saved
    reborn = ManifestGuard(HOOK, world.anchors, saved)
    assert reborn.current.lease_until_ns == 0
    renewed = admit(reborn, envelope, world.later(1))
    assert renewed.lease_until_ns == world.now.monotonic_ns + 10 * SECOND


def test_state_that_is_trusted_no_more_leaves_the_epoch(world, guard) -> None:
    saved = admit(guard, world.manifest(6), world.now).saved
    withdrawn = ManifestGuard(HOOK, Anchors((world.stranger.public_key(),)), saved)
    assert withdrawn.current is None
    assert withdrawn.epoch == 6
    garbled = ManifestGuard(HOOK, world.anchors, Saved(6, b"\xff\xff", b"\xff"))
    assert garbled.current is None
    with pytest.raises(TrustError, match="older"):
        garbled.check(world.manifest(5), world.now)
