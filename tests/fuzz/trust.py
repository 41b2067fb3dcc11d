"""A publisher, a control plane and what they sign, the same in every run."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.sdk import dsse
from gnomon.sdk.bundle import build_bundle, bundle_digest
from gnomon.sdk.kind import Feature, Kind, Metric
from gnomon.sdk.language import check
from gnomon.sdk.manifest import Now
from gnomon.v1 import policy_pb2

from .signing import HOOK, SECOND, manifest_of, plan_of

PUBLISHER = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
ROLLOUT = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
NOW = Now(1_700_000_000 * SECOND, 50 * SECOND)
KIND = Kind(
    name="pick",
    version=3,
    description="Pick one.",
    features=(
        Feature("inflight", "{request}", "Requests in flight.", 0.0, 1000.0, integer=True),
        Feature("ewma_ms", "ms", "Mean latency.", 0.0, 10_000.0),
    ),
    objective=Metric("latency_ms", "ms", 2000.0),
)


def bundle() -> bytes:
    """Return a payload with its golden vectors."""
    program = check(
        "def score(inflight, ewma_ms):\n    return (inflight + 1) * ewma_ms\n", KIND.input_names
    )
    return build_bundle(program, HOOK, KIND, "e" * 64, {"author": "fuzz"})


def digest() -> str:
    """Return what names that bundle."""
    return bundle_digest(bundle())


def plan(**changes: Any) -> policy_pb2.RampPlan:
    """Return a plan for a canary of ``b`` over the incumbent."""
    return plan_of(ROLLOUT.public_key(), NOW.unix_ns, **changes)


def manifest(epoch: int, **changes: Any) -> policy_pb2.Manifest:
    """Return a manifest with its plan, signed."""
    signed = dsse.sign(dsse.PLAN_TYPE, plan().SerializeToString(), PUBLISHER)
    return manifest_of(epoch, NOW.unix_ns, **({"plan": signed} | changes))
