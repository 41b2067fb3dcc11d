"""Golden cases of a program: a service that would answer otherwise says so, and runs nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from gnomon.sdk import bundle as bundles
from gnomon.sdk import dsse
from gnomon.sdk.kind import Kind
from gnomon.sdk.manifest import Anchors, Now
from gnomon.sdk.programs.golden import CASES
from gnomon.sdk.session import HookPolicy, Node, Session
from gnomon.v1 import delivery_pb2, policy_pb2

from .jobs import LONGEST, SPREAD, jobs, kind_of, measured
from .test_program_bundle import HOOK, PUBLISHER, built

SOURCE = "def decide(work, machine):\n    machine[0] = round(spread(work) * 1e6) % 8\n"


def refused(payload: bytes, kind: Kind = jobs) -> str:
    """Return the reason of a refusal, and check that nothing was taken."""
    policy = HookPolicy(HOOK, kind, "cell", Anchors((PUBLISHER.public_key(),)))
    session = Session(Node("s", "0123456789abcdef", "cell", "1"), {HOOK: policy})
    envelope = dsse.sign(dsse.BUNDLE_TYPE, payload, PUBLISHER)
    push = delivery_pb2.BundlePush(digest=bundles.bundle_digest(payload), envelope=envelope)
    step = session.receive(delivery_pb2.ServerMessage(nonce="n", bundle=push), Now(10**18, 10**9))
    assert not step.reply.ack.ok
    assert (step.keep, step.install, policy.programs) == (None, None, {})
    error: str = step.reply.ack.error
    return error


def test_a_host_operation_that_differs_on_the_publishers_side_is_noticed() -> None:
    def other(numbers: Any) -> float:
        return statistics.pstdev(numbers) * (1.0 + 1e-6)

    elsewhere = kind_of("measured_jobs", operations=(SPREAD,), host={"spread": other})
    reason = refused(built(SOURCE, elsewhere), measured)
    assert reason.startswith("golden cases differ here: case ")
    assert " gives answer " in reason and ", not answer " in reason


def test_a_kind_with_a_deadline_of_milliseconds_can_be_shipped_to() -> None:
    quick = kind_of(deadline_s=0.002)
    payload = built(LONGEST, quick)
    policy = HookPolicy(HOOK, quick, "cell", Anchors((PUBLISHER.public_key(),)))
    for _ in range(3):
        policy.add_bundle(
            bundles.bundle_digest(payload), dsse.sign(dsse.BUNDLE_TYPE, payload, PUBLISHER)
        )
    assert policy.programs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: [], f"bundle has 0 golden cases; {CASES} are required"),
        (lambda v: v[:-2], f"bundle has {CASES - 1} golden cases; {CASES} are required"),
        (lambda v: [*v[:8], v[8] + 1.0, *v[9:]], "golden cases differ here: case 4: gives answer"),
        (lambda v: [*v[:9], v[9] + 1.0, *v[10:]], "golden cases differ here: case 4: gives answer"),
        (lambda v: [math.nan, *v[1:]], "not a fault"),
    ],
)
def test_cases_that_are_missing_short_or_edited_are_refused(
    change: Callable[[list[float]], list[float]], reason: str
) -> None:
    message: policy_pb2.Bundle = bundles.read_bundle(built(LONGEST))
    numbers = change(list(message.vector_outputs))
    del message.vector_outputs[:]
    message.vector_outputs.extend(numbers)
    assert reason in refused(message.SerializeToString())
