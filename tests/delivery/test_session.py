"""The stream as pure steps: every resource gets its own answer, and only good ones take effect."""

from __future__ import annotations

import dataclasses

import pytest

from gnomon.sdk.assignment import NEVER_NS, Assignment, Switchback
from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.session import MAX_PROGRAMS, HookPolicy, Node, Session, hook_report
from gnomon.v1 import delivery_pb2, policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"
LEAST = "def score(inflight):\n    return inflight\n"
FAST = "def score(ewma_ms):\n    return ewma_ms\n"
PHASE = policy_pb2.Phase
NODE = Node("shop", "0123456789abcdef", "cell-a", "1.0")


@pytest.fixture
def policy(world) -> HookPolicy:
    return HookPolicy(HOOK, world.kind, "cell-a", world.anchors)


@pytest.fixture
def session(policy) -> Session:
    return Session(NODE, {HOOK: policy})


def bundle_push(envelope, digest: str = "", nonce: str = "n1") -> delivery_pb2.ServerMessage:
    push = delivery_pb2.BundlePush(
        digest=digest or bundle_digest(envelope.payload), envelope=envelope
    )
    return delivery_pb2.ServerMessage(nonce=nonce, bundle=push)


def manifest_push(envelope, hook: str = HOOK, nonce: str = "n2") -> delivery_pb2.ServerMessage:
    push = delivery_pb2.ManifestPush(hook=hook, envelope=envelope)
    return delivery_pb2.ServerMessage(nonce=nonce, manifest=push)


@pytest.fixture
def shipped(world):
    """Return a bundle, its digest and a maker of manifests whose plan allows it."""
    envelope = world.bundle(LEAST)
    digest = bundle_digest(envelope.payload)
    plan = world.plan(candidate=digest)

    def manifest(epoch: int, **changes):
        return world.manifest(epoch, **({"plan": plan, "candidate": digest} | changes))

    return envelope, digest, manifest


def test_hello_says_who_and_what_is_held(session, policy, world, shipped) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)
    session.receive(manifest_push(manifest(4)), world.now)
    hello = session.hello().hello
    assert (hello.node.service, hello.node.instance) == ("shop", "0123456789abcdef")
    (state,) = hello.hooks
    assert (state.hook, state.kind, state.kind_version) == (HOOK, "pick", 3)
    assert (state.epoch, list(state.bundles)) == (4, [digest])


def test_a_bundle_and_then_its_manifest_are_acknowledged(session, world, shipped) -> None:
    envelope, digest, manifest = shipped
    step = session.receive(bundle_push(envelope), world.now)
    assert step.reply.ack.ok
    assert (step.reply.ack.nonce, step.reply.ack.name) == ("n1", digest)
    assert step.keep == (digest, envelope.SerializeToString())
    assert step.install is None
    step = session.receive(manifest_push(manifest(4)), world.now)
    ack = step.reply.ack
    assert (ack.ok, ack.nonce, ack.name, ack.epoch) == (True, "n2", HOOK, 4)
    hook, assignment = step.install
    assert hook == HOOK
    assert (assignment.phase, assignment.epoch) == ("canary", 4)
    assert assignment.candidate.source == LEAST
    assert (assignment.stable, assignment.stable_digest) == (None, "incumbent")
    assert assignment.candidate_digest == digest
    assert assignment.lease_until_ns == world.now.monotonic_ns + 10 * SECOND
    assert assignment.switchback == Switchback(
        b"0123456789abcdef", "cell-a", 2 * SECOND, SECOND // 5, SECOND // 20, 0.25
    )
    assert step.save[1].epoch == 4


def test_phases_become_assignments(session, world, shipped) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)

    def installed(envelope) -> Assignment:
        step = session.receive(manifest_push(envelope), world.now)
        assert step.reply.ack.ok, step.reply.ack.error
        return step.install[1]

    shadow = installed(manifest(1, phase=PHASE.PHASE_SHADOW, weight=0.0))
    assert (shadow.phase, shadow.shadow_rate, shadow.switchback) == ("shadow", 0.5, None)
    full = installed(manifest(2, phase=PHASE.PHASE_FULL, weight=1.0))
    assert (full.phase, full.candidate_digest) == ("full", digest)
    assert full.switchback.weight == 0.5, "blocks go on being measured"
    stable = {"phase": PHASE.PHASE_STABLE, "weight": 0.0, "candidate": ""}
    won = installed(manifest(3, stable=digest, **stable))
    assert (won.phase, won.stable.source, won.stable_digest) == ("stable", LEAST, digest)
    assert won.lease_until_ns == NEVER_NS
    killed = installed(manifest(4, kill=True))
    assert (killed.phase, killed.epoch) == ("killed", 4)
    assert (killed.stable, killed.candidate) == (None, None)


def test_a_manifest_before_its_bundle_is_refused_and_may_come_again(
    session, world, shipped
) -> None:
    envelope, _, manifest = shipped
    early = session.receive(manifest_push(manifest(4)), world.now)
    assert not early.reply.ack.ok
    assert "push it before its manifest" in early.reply.ack.error
    assert (early.install, early.save) == (None, None)
    session.receive(bundle_push(envelope), world.now)
    assert session.receive(manifest_push(manifest(4)), world.now).reply.ack.ok


def test_one_bad_resource_does_not_discard_good_ones(session, policy, world, shipped) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)
    session.receive(manifest_push(manifest(4)), world.now)
    in_force = policy.guard.current
    for bad in (
        bundle_push(world.bundle(FAST, signer=world.stranger)),
        bundle_push(envelope, digest="f" * 64),
        bundle_push(policy_pb2.Envelope(payload=b"\xff\xff")),
        bundle_push(world.bundle(FAST, hook="unknown.hook")),
        manifest_push(manifest(3)),
        manifest_push(manifest(5, signer=world.stranger)),
        manifest_push(manifest(5), hook="unknown.hook"),
        manifest_push(policy_pb2.Envelope(payload=b"\xff\xff")),
        delivery_pb2.ServerMessage(nonce="n9"),
    ):
        step = session.receive(bad, world.now)
        ack = step.reply.ack
        assert not ack.ok
        assert ack.nonce == bad.nonce
        assert ack.error
        assert "\n" not in ack.error
        assert (step.install, step.save, step.keep) == (None, None, None)
    assert policy.guard.current is in_force
    assert list(policy.programs) == [digest]
    assert session.receive(manifest_push(manifest(5, weight=0.5)), world.now).reply.ack.ok


def test_a_refused_manifest_is_named_with_its_epoch(session, world, shipped) -> None:
    _, _, manifest = shipped
    step = session.receive(manifest_push(manifest(4, weight=0.9)), world.now)
    assert (step.reply.ack.name, step.reply.ack.epoch) == (HOOK, 4)


@pytest.mark.parametrize("change", [{"objective": "cost"}, {"objective_clip": 1.0}])
def test_a_plan_in_another_unit_is_refused(session, world, shipped, change) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)
    plan = world.plan(candidate=digest, **change)
    step = session.receive(manifest_push(manifest(1, plan=plan)), world.now)
    assert "ramp plan judges" in step.reply.ack.error


def test_a_hook_without_outcomes_takes_no_candidate(world, shipped) -> None:
    envelope, _, manifest = shipped
    silent = HookPolicy(HOOK, world.kind, "cell-a", world.anchors, has_outcomes=lambda: False)
    session = Session(NODE, {HOOK: silent})
    assert session.receive(bundle_push(envelope), world.now).reply.ack.ok
    step = session.receive(manifest_push(manifest(4)), world.now)
    assert not step.reply.ack.ok
    assert "reports no outcomes" in step.reply.ack.error
    assert (step.install, step.save) == (None, None)


def test_the_right_digest_of_another_payload_is_refused(session, world) -> None:
    wanted = bundle_digest(world.bundle(LEAST).payload)
    step = session.receive(bundle_push(world.bundle(FAST), digest=wanted), world.now)
    assert "digest" in step.reply.ack.error


def test_programs_in_force_outlive_many_bundles(session, policy, world, shipped) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)
    session.receive(manifest_push(manifest(1)), world.now)
    for index in range(MAX_PROGRAMS + 4):
        source = f"def score(inflight):\n    return inflight + {index}\n"
        newest = world.bundle(source)
        assert session.receive(bundle_push(newest), world.now).reply.ack.ok
    assert len(policy.programs) == MAX_PROGRAMS
    assert digest in policy.programs
    assert bundle_digest(newest.payload) in policy.programs


def test_an_earlier_life_resumes_stable_but_no_candidate(session, world, shipped) -> None:
    envelope, digest, manifest = shipped
    session.receive(bundle_push(envelope), world.now)
    saved = session.receive(manifest_push(manifest(4)), world.now).save[1]
    reborn = HookPolicy(HOOK, world.kind, "cell-a", world.anchors, saved)
    assert reborn.resumed() == Assignment(epoch=4), "the bundle is not at hand"
    reborn.add_bundle(digest, envelope)
    resumed = reborn.resumed()
    assert resumed.candidate_digest == digest
    assert resumed.lease_until_ns == 0, "no lease: the stable arm decides"
    assert HookPolicy(HOOK, world.kind, "cell-a", world.anchors).resumed() == Assignment()


def test_a_kill_survives_a_restart(session, world, shipped) -> None:
    _, _, manifest = shipped
    saved = session.receive(manifest_push(manifest(4, kill=True)), world.now).save[1]
    reborn = HookPolicy(HOOK, world.kind, "cell-a", world.anchors, saved)
    assert reborn.resumed().phase == "killed"


def test_a_report_holds_counters_shadow_and_breaker(hook) -> None:
    hook.breaker = "candidate: 3 faults"
    block = delivery_pb2.BlockReport(cell="cell-a", block=4, arm="stable", count=2)
    report = hook_report(hook, 9, [block]).report
    assert (report.hook, report.epoch, report.breaker) == (HOOK, 9, "candidate: 3 faults")
    assert dict(report.counters) == hook.counters
    assert (report.shadow.decisions, report.shadow.faults, report.shadow.shed) == (4, 1, 0)
    assert report.blocks[0] == block


def in_pairs(world, kind_arms: str, plan_arms: int) -> tuple[Session, policy_pb2.Envelope, str]:
    """Return a session that holds the bundle, the plan that was signed for it, and its digest."""
    kind = dataclasses.replace(world.kind, arms=kind_arms)
    session = Session(NODE, {HOOK: HookPolicy(HOOK, kind, "cell-a", world.anchors)})
    envelope = world.bundle(LEAST)
    session.receive(bundle_push(envelope), world.now)
    digest = bundle_digest(envelope.payload)
    return session, world.plan(candidate=digest, arms=plan_arms), digest


def test_paired_arms_divide_keys_and_not_time(world) -> None:
    session, plan, digest = in_pairs(world, "paired", policy_pb2.ARMS_PAIRED)
    for epoch, phase, weight in ((1, PHASE.PHASE_CANARY, 0.25), (2, PHASE.PHASE_FULL, 1.0)):
        manifest = world.manifest(epoch, plan=plan, candidate=digest, phase=phase, weight=weight)
        step = session.receive(manifest_push(manifest), world.now)
        assert step.reply.ack.ok, step.reply.ack.error
        design = step.install[1].switchback
        assert (design.paired, design.weight) == (True, weight)
        assert all(design.candidate(block) for block in range(20))


@pytest.mark.parametrize(
    ("kind_arms", "plan_arms", "words"),
    [
        ("switchback", policy_pb2.ARMS_PAIRED, "arms are paired, kind 'pick' here has switchback"),
        ("paired", policy_pb2.ARMS_SWITCHBACK, "arms are switchback, kind 'pick' here has paired"),
        ("sticky", policy_pb2.ARMS_STICKY, "divides units into 0 slices; 100 to 10000 are"),
        ("sticky", policy_pb2.ARMS_PAIRED, "arms are paired, kind 'pick' here has sticky"),
    ],
)
def test_a_plan_with_other_arms_than_the_kind_is_refused_in_one_line(
    world, kind_arms, plan_arms, words
) -> None:
    session, plan, digest = in_pairs(world, kind_arms, plan_arms)
    for epoch, phase, weight in ((1, PHASE.PHASE_SHADOW, 0.0), (2, PHASE.PHASE_CANARY, 0.25)):
        manifest = world.manifest(epoch, plan=plan, candidate=digest, phase=phase, weight=weight)
        step = session.receive(manifest_push(manifest), world.now)
        assert not step.reply.ack.ok
        assert words in step.reply.ack.error
        assert "\n" not in step.reply.ack.error
        assert (step.install, step.save) == (None, None)
