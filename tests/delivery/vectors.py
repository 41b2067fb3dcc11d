"""Makes the vectors of ``vectors/``: what a service is sent, and what it must answer; equal every time.

Each file is one case for any implementation of the client's rules: what is pinned, then steps. ``send`` is a serialised
envelope in base64, with both clocks; ``accept`` and, where it is accepted, ``epoch`` and ``lease_until_ns`` (monotonic; 0
for none) are the answer. ``restart`` keeps nothing but the state on disk, ``pin`` replaces what is pinned.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.sdk import dsse, keys
from gnomon.sdk.manifest import Now
from gnomon.v1 import policy_pb2

from ..fuzz.signing import HOOK, SECOND
from .conftest import World

FULL = {"phase": policy_pb2.PHASE_FULL, "weight": 1.0, "salt": b""}
Case = dict[str, Any]


def key(name: str) -> Ed25519PrivateKey:
    """Return the private key of a name."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


class Maker(World):
    """Writes down one case."""

    def __init__(self, says: str) -> None:
        super().__init__()
        self.publisher, self.rollout = key("publisher"), key("rollout")
        self.stranger, self.other = key("stranger"), key("another rollout key")
        self.case: Case = {"says": says, "hook": HOOK, "steps": []}
        self.pin(self.publisher)

    def pin(self, *publishers: Ed25519PrivateKey, revoked: Any = (), min_epoch: int = 0) -> None:
        self.case["steps"].append(
            {
                "do": "pin",
                "publishers": [keys.raw(found.public_key()).hex() for found in publishers],
                "revoked": [keys.keyid(found.public_key()) for found in revoked],
                "min_epoch": min_epoch,
            }
        )

    def restart(self, *, lost: bool = False) -> None:
        self.case["steps"].append({"do": "restart", "state_lost": lost})
        self.now = Now(self.now.unix_ns, 0)

    def send(
        self, envelope: policy_pb2.Envelope, epoch: int = 0, lease_s: float | None = None
    ) -> policy_pb2.Envelope:
        """Expect it to be accepted with an epoch, or refused where none is given."""
        step: dict[str, Any] = {"do": "send", "accept": epoch > 0}
        step |= {"unix_ns": self.now.unix_ns, "monotonic_ns": self.now.monotonic_ns}
        step["envelope"] = base64.b64encode(envelope.SerializeToString(deterministic=True)).decode()
        if epoch:
            until = 0 if lease_s is None else self.now.monotonic_ns + int(lease_s * SECOND)
            step |= {"epoch": str(epoch), "lease_until_ns": until}
        self.case["steps"].append(step)
        return envelope

    def expect(self, accept: bool, envelope: policy_pb2.Envelope) -> None:
        """Expect an answer, whatever epoch and lease come of it."""
        self.send(envelope, 0)
        self.case["steps"][-1]["accept"] = accept

    def for_other(self) -> policy_pb2.Envelope:
        """Return the plan signed again for another rollout key."""
        public = self.other.public_key()
        return self.plan(rollout_keyid=keys.keyid(public), rollout_public_key=keys.raw(public))


def forgery(m: Maker) -> None:
    """A manifest or plan that somebody else signed, or that was altered, is refused."""
    m.send(m.manifest(1, signer=m.stranger))
    m.send(m.manifest(1, plan=m.plan(signer=m.stranger)))
    altered = m.manifest(1)
    altered.payload = altered.payload.replace(b"incumbent", b"incumbenT")
    m.send(altered)
    m.send(m.manifest(1), 1, 10)


def wrong_role(m: Maker) -> None:
    """A publisher signs no raise and a rollout key no plan; a publisher's kill is good."""
    m.send(m.manifest(1, signer=m.publisher))
    m.send(m.manifest(1, plan=m.plan(signer=m.rollout)))
    m.send(m.manifest(1), 1, 10)
    m.expect(True, m.manifest(2, signer=m.publisher, kill=True))


def key_confusion(m: Maker) -> None:
    """A signature counts for its type alone, under its own key's id, and no key has both roles."""
    as_manifest = m.plan()
    as_manifest.payload_type = dsse.MANIFEST_TYPE
    m.send(as_manifest)
    good = m.manifest(1)
    good.signatures[0].keyid = keys.keyid(m.publisher.public_key())
    m.send(good)
    public = m.publisher.public_key()
    both = m.plan(rollout_keyid=keys.keyid(public), rollout_public_key=keys.raw(public))
    m.send(m.manifest(1, plan=both, signer=m.publisher))


def replay(m: Maker) -> None:
    """An older epoch is refused, also a kill's, and an equal one with another content."""
    old = m.send(m.manifest(5), 5, 10)
    kill = m.manifest(6, kill=True)
    m.expect(True, kill)
    m.send(m.manifest(7), 7, 10)
    m.send(old)
    m.send(kill)
    m.send(m.manifest(7, weight=0.1))


def rollback(m: Maker) -> None:
    """What was accepted once is the least for ever, across restarts."""
    m.send(m.manifest(9), 9, 10)
    m.restart()
    m.send(m.manifest(8))
    m.send(m.manifest(10), 10, 10)


def freeze(m: Maker) -> None:
    """A manifest is good for its lease and a minute; the same one again extends nothing."""
    sent = m.send(m.manifest(1), 1, 10)
    until = m.now.monotonic_ns + 10 * SECOND
    m.later(5)
    m.send(sent, 1, 5)
    assert m.case["steps"][-1]["lease_until_ns"] == until
    stale = m.manifest(2, weight=0.5)
    m.later(10 + 60 + 1)
    m.send(stale)


def future(m: Maker) -> None:
    """A manifest from more than a minute ahead of the clock is refused."""
    issued = m.now.unix_ns + 61 * SECOND
    m.send(m.manifest(1, issued_unix_ns=issued))
    m.send(m.manifest(1, issued_unix_ns=issued - 2 * SECOND), 1, 10)


def clock_set_back(m: Maker) -> None:
    """A wall clock that is set back neither lengthens a lease nor brings an earlier renewal back."""
    plan = m.plan()
    first = m.send(m.manifest(1, plan=plan), 1, 10)
    m.later(5)
    m.send(m.manifest(1, plan=plan), 1, 10)
    m.now = Now(m.now.unix_ns - 3600 * SECOND, m.now.monotonic_ns + SECOND)
    m.send(first)
    m.restart()
    m.send(first)


def lease_across_a_restart(m: Maker) -> None:
    """A replay after a restart gives one lease more, and only within a minute of the first one's end."""
    sent = m.send(m.manifest(1), 1, 10)
    m.later(10 + 59)
    m.restart()
    m.send(sent, 1, 10)
    m.later(2)
    m.restart()
    m.send(sent)


def mix_and_match(m: Maker) -> None:
    """Stable, candidate and hook are those of the plan inside."""
    m.send(m.manifest(1, candidate="c" * 64))
    m.send(m.manifest(1, stable="d" * 64))
    m.send(m.manifest(1, hook="other.hook"))
    m.send(m.manifest(1, plan=m.plan(hook="other.hook")))
    m.send(m.manifest(1, lease_ns=11 * SECOND))


def beyond_the_plan(m: Maker) -> None:
    """A stolen rollout key raises nothing beyond the plan, nor after it."""
    small = m.plan(weights=[0.1])
    m.send(m.manifest(1, plan=small, weight=0.2))
    m.send(m.manifest(1, plan=small, **FULL))
    m.send(m.manifest(1, weight=0.6))
    m.send(m.manifest(1, weight=float("nan")))
    ended = m.plan(not_after_unix_ns=m.now.unix_ns - 1)
    m.send(m.manifest(1, plan=ended))
    m.send(m.stable(1, plan=ended, stable="b" * 64))


def going_back(m: Maker) -> None:
    """Less of the candidate, or a kill, needs no fresh manifest, and extends no lease."""
    m.send(m.manifest(1), 1, 10)
    until = m.now.monotonic_ns + 10 * SECOND
    issued = m.now.unix_ns
    m.later(3600 * 3)
    m.expect(True, m.manifest(2, weight=0.1, issued_unix_ns=issued))
    m.case["steps"][-1] |= {"epoch": "2", "lease_until_ns": until}
    m.expect(True, m.manifest(3, kill=True, issued_unix_ns=0, lease_ns=0, plan=None))


def min_epoch(m: Maker) -> None:
    """Where the state is lost, min_epoch stands for it."""
    m.send(m.manifest(9), 9, 10)
    m.restart(lost=True)
    m.pin(m.publisher, min_epoch=9)
    m.send(m.manifest(8))
    m.send(m.manifest(8, kill=True))
    m.send(m.manifest(9), 9, 10)


def stale_state_folder(m: Maker) -> None:
    """A state folder from a backup forgets epochs: an old manifest is then stopped by min_epoch, or by its age."""
    m.send(m.manifest(4), 4, 10)
    later = m.manifest(6, weight=0.5)
    m.later(3600)
    m.restart()
    m.send(later)
    m.pin(m.publisher, min_epoch=8)
    m.send(m.manifest(7))
    m.send(m.manifest(8), 8, 10)


def publisher_rotated(m: Maker) -> None:
    """Two signatures carry a policy from one publisher key to the next."""
    new = key("new publisher")
    plan = m.plan()
    again = dsse.sign(dsse.PLAN_TYPE, plan.payload, new)
    plan.signatures.extend(again.signatures)
    m.send(m.manifest(1, plan=plan), 1, 10)
    m.pin(new)
    m.send(m.manifest(2, plan=plan), 2, 10)
    m.send(m.manifest(3, plan=m.plan()))


def publisher_revoked(m: Maker) -> None:
    """What only a revoked key signed is refused, whatever rollout key it names."""
    m.send(m.manifest(1), 1, 10)
    m.pin(key("new publisher"), revoked=[m.publisher])
    m.send(m.manifest(2))
    m.send(m.manifest(2, signer=m.publisher, kill=True))


def fast_forward(m: Maker) -> None:
    """A stolen rollout key uses up the epochs; with the key they are forgotten, and it signs nothing more."""
    last = m.manifest(2**64 - 1, kill=True)
    m.expect(True, last)
    m.send(m.manifest(8))
    m.pin(m.publisher, revoked=[m.rollout])
    m.send(last)
    m.send(m.manifest(2**64 - 1))
    m.send(m.manifest(8, plan=m.for_other(), signer=m.other), 8, 10)
    m.send(m.manifest(9))


def rollout_rotated(m: Maker) -> None:
    """The same plan signed again for another rollout key lets that one go on."""
    m.send(m.manifest(1), 1, 10)
    m.send(m.manifest(2, signer=m.other))
    m.send(m.manifest(2, plan=m.for_other(), signer=m.other), 2, 10)


CASES: tuple[Callable[[Maker], None], ...] = (
    forgery,
    wrong_role,
    key_confusion,
    replay,
    rollback,
    freeze,
    future,
    clock_set_back,
    lease_across_a_restart,
    mix_and_match,
    beyond_the_plan,
    going_back,
    min_epoch,
    stale_state_folder,
    publisher_rotated,
    publisher_revoked,
    fast_forward,
    rollout_rotated,
)


def made(case: Callable[[Maker], None]) -> Case:
    """Return a case as it stands in its file."""
    maker = Maker(case.__doc__ or "")
    case(maker)
    return maker.case
