"""Golden vectors: a service whose arithmetic differs says so, before it runs anything, and never in a call."""

from __future__ import annotations

import math
import time

import pytest

import gnomon
from gnomon.sdk import bundle as bundles
from gnomon.sdk import dsse, language
from gnomon.sdk.language import _runtime
from gnomon.sdk.session import HookPolicy, Node, Session
from gnomon.testing import recording

from .test_session import bundle_push

HOOK = "router.pick"
SOURCE = """import math
def score(inflight, ewma_ms):
    return math.log1p(inflight) * ewma_ms ** 0.5
"""


@pytest.fixture
def policy(world) -> HookPolicy:
    return HookPolicy(HOOK, world.kind, "cell-a", world.anchors)


def refused(world, policy, envelope) -> str:
    """Return the reason of a refusal, and check that nothing was taken."""
    session = Session(Node("shop", "0123456789abcdef", "cell-a", "1.0"), {HOOK: policy})
    step = session.receive(bundle_push(envelope), world.now)
    assert not step.reply.ack.ok
    assert (step.keep, step.install, policy.programs) == (None, None, {})
    error: str = step.reply.ack.error
    return error


def changed(world, **changes):
    """Return a bundle that its publisher signed after it was changed."""
    message = bundles.read_bundle(world.bundle(SOURCE).payload)
    for name, values in changes.items():
        before = list(getattr(message, name))
        del getattr(message, name)[:]
        getattr(message, name).extend(values(before))
    return dsse.sign(dsse.BUNDLE_TYPE, message.SerializeToString(), world.publisher)


def test_arithmetic_that_differs_in_the_last_bit_is_refused(world, policy, monkeypatch) -> None:
    envelope = world.bundle(SOURCE)
    plain = _runtime.namespace

    def other_libm() -> dict[str, object]:
        names = plain()
        exact = names["_log1p"]
        names["_log1p"] = lambda x: math.nextafter(exact(x), math.inf) if x > 1e5 else exact(x)
        return names

    monkeypatch.setattr("gnomon.sdk.language._program.namespace", other_libm)
    reason = refused(world, policy, envelope)
    assert reason.startswith("golden vectors differ here: vector ")
    assert " gives " in reason and ", not " in reason
    assert len(reason) <= 500
    monkeypatch.undo()
    policy.add_bundle(bundles.bundle_digest(envelope.payload), envelope)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vector_inputs": lambda v: [], "vector_outputs": lambda v: []}, "0 golden vectors; 256"),
        ({"vector_outputs": lambda v: v[:-1]}, "bundle has 255 golden vectors; 256 are required"),
        ({"vector_inputs": lambda v: v[:-1]}, "golden vectors do not have 4 columns"),
        (
            {"vector_outputs": lambda v: [*v[:7], math.nextafter(v[7], math.inf), *v[8:]]},
            "golden vectors differ here: vector 7: (",
        ),
        ({"vector_outputs": lambda v: [math.nan, *v[1:]]}, "not nan"),
        ({"vector_outputs": lambda v: [-0.0 if x == 0.0 else x for x in v]}, "gives 0.0, not -0.0"),
    ],
)
def test_vectors_that_are_missing_short_or_edited_are_refused(
    world, policy, changes, reason: str
) -> None:
    assert reason in refused(world, policy, changed(world, **changes))


def test_no_call_checks_anything(world, monkeypatch) -> None:
    """What was opened is asked as it is: no call checks a source or replays a vector."""
    envelope = world.bundle(SOURCE)
    _, program = bundles.open_bundle(envelope, world.anchors.publishers, HOOK, world.kind)
    names = [feature.name for feature in world.kind.features]

    @gnomon.hook(
        "golden.pick", kind=world.kind, items="items", item_features=lambda row: row, item_name=str
    )
    def pick(items):
        return items[-1]

    from gnomon.sdk.assignment import Assignment

    with recording():
        pick.hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
        for place in ("check", "replay_vectors", "golden_vectors"):
            monkeypatch.setattr(language, place, lambda *a, **k: pytest.fail("checked in a call"))
        monkeypatch.setattr(bundles, "open_bundle", lambda *a: pytest.fail("opened in a call"))
        items = [tuple(1.0 + 7 * i for _ in names) for i in range(3)]
        assert [pick(items) for _ in range(200)] == [items[0]] * 200


def test_opening_takes_little_of_the_delivery_thread_s_time(world) -> None:
    """A hundred times what it takes at rest: this is not a benchmark."""
    envelope = world.bundle(SOURCE)
    begin = time.process_time()
    bundles.open_bundle(envelope, world.anchors.publishers, HOOK, world.kind)
    assert time.process_time() - begin < 1.0
