"""Whoever looks after the keys of a world: they are rotated, and now and then one is stolen and revoked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gnomon.policies.rollout.identity import Identity
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.errors import TrustError
from gnomon.sdk.keyring import Pins
from gnomon.v1 import keys_pb2, policy_pb2

from ..events import CONTROL, Signed, Trusted
from .publisher import PUBLISHERS, ROLLOUTS

if TYPE_CHECKING:
    from .world import World

_WAYS = ("publisher rotated", "publisher revoked", "rollout rotated", "rollout revoked")


@dataclass(frozen=True, slots=True)
class Ring:
    """Numbers of the keys in use.

    Attributes:
        publishers: that are pinned, the one that signs last.
        rollouts: of the control plane, the one for new plans last.
        revoked: keyids.
    """

    publishers: tuple[int, ...] = (0,)
    rollouts: tuple[int, ...] = (0,)
    revoked: frozenset[str] = frozenset()

    def identity(self) -> Identity:
        """Return it as the control plane is started with it."""
        pinned = [PUBLISHERS[n].public_key() for n in self.publishers]
        older = [ROLLOUTS[n] for n in self.rollouts[:-1]]
        return Identity(ROLLOUTS[self.rollouts[-1]], pinned, {}, older, self.revoked)


class Keys:
    """The keys of one world.

    Attributes:
        identity: in the control plane's files.
        pins: in those of the services, as soon as they have reached them.
        busy: whether something is under way.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._ring = Ring()
        self.busy = False
        self._take(self._ring)

    @property
    def publisher(self) -> int:
        """Number of the key that publishers sign with."""
        return self._ring.publishers[-1]

    @property
    def rollout(self) -> int:
        """Number of the key that new plans name."""
        return self._ring.rollouts[-1]

    @property
    def keyid(self) -> str:
        """Id of the key that publishers sign with."""
        return _id(PUBLISHERS, self.publisher)

    def trusted(self) -> Trusted:
        """Return whom the control plane trusts."""
        known = tuple(_id(PUBLISHERS, n) for n in self._ring.publishers)
        return Trusted(self._world.now, CONTROL, known, self._ring.revoked)

    def turn(self) -> None:
        """Begin something with the keys, or nothing, once a second."""
        world, way = self._world, self._world.rng.choice(_WAYS)
        last = self.publisher if way.startswith("publisher") else self.rollout
        if self.busy or world.rng.random() >= world.weather.keys or last + 1 >= len(PUBLISHERS):
            return
        self.busy = True
        ring = self._ring
        if way.startswith("publisher"):
            gone, known = _id(PUBLISHERS, last), (*ring.publishers, last + 1)
            last_one = replace(ring, publishers=(last + 1,))
            first = replace(ring, publishers=known)
        else:
            gone, known = _id(ROLLOUTS, last), (*ring.rollouts, last + 1)
            last_one = replace(ring, rollouts=(last + 1,))
            first = replace(ring, rollouts=known)
        revoked = replace(last_one, revoked=ring.revoked | {gone})
        if way.endswith("revoked"):
            self._set(revoked, lambda: self._sign(lambda: self._done(way)))
            return
        end = revoked if way.startswith("rollout") else last_one
        rest: Callable[[], None] = lambda: self._set(end, lambda: self._done(way))
        # To sign again before the old key goes: of a publisher that is refused.
        forgotten = way.startswith("publisher") and world.rng.random() < 0.25
        self._set(first, rest if forgotten else lambda: self._sign(rest))

    def _done(self, way: str) -> None:
        self.busy = False
        self._world.met[f"key: {way}"] += 1

    def _later(self, work: Callable[[], None]) -> None:
        self._world.after(self._world.rng.uniform(0.5, 2.5), work)

    def _set(self, ring: Ring, then: Callable[[], None]) -> None:
        """Change the control plane's files and, a little later, everybody's; where it refuses, sign again first."""
        world, control = self._world, self._world.plane.control
        if control is None:
            self._later(lambda: self._set(ring, then))
            return
        before = self._ring
        self._take(ring)
        world.plane.backups.drop()
        _, error = world.plane.call(lambda: control.trust(ring.identity()))
        if isinstance(error, TrustError):
            world.met["key: still needed"] += 1
            self._take(before)
            self._sign(lambda: self._set(ring, then))
            return
        world.add(self.trusted())
        for process in world.processes:
            world.after(
                world.rng.uniform(0.0, 2.0), lambda p=process: setattr(p, "pins", self.pins)
            )  # type: ignore[misc]
        self._later(then)

    def _take(self, ring: Ring) -> None:
        self._ring, self.identity = ring, ring.identity()
        pinned = tuple(PUBLISHERS[n].public_key() for n in ring.publishers)
        self.pins = Pins(pinned, ring.revoked)

    def _sign(self, then: Callable[[], None]) -> None:
        """Sign again what is in force, and go on once all of it is."""
        world, control = self._world, self._world.plane.control
        if control is None:
            self._later(lambda: self._sign(then))
            return
        errors = [self._signed_again(found) for found in control.signed()]
        done = control is world.plane.control and not any(errors)
        self._later(then if done else lambda: self._sign(then))

    def _signed_again(self, found: keys_pb2.InForce) -> Exception | None:
        """Sign what one hook rests on, the plan for the newest rollout key."""
        world, control, key = self._world, self._world.plane.control, PUBLISHERS[self.publisher]
        if control is None:
            return RuntimeError("down")
        plan = policy_pb2.RampPlan.FromString(found.plan.payload)
        public = ROLLOUTS[self.rollout].public_key()
        plan.rollout_keyid, plan.rollout_public_key = keys.keyid(public), keys.raw(public)
        words = dsse.sign(dsse.PLAN_TYPE, plan.SerializeToString(deterministic=True), key)
        bundles = [dsse.sign(dsse.BUNDLE_TYPE, bundle.payload, key) for bundle in found.bundles]
        for bundle in bundles:
            digest = bundle_digest(bundle.payload)
            world.add(Signed(world.now, "publisher", digest, self.keyid))
        given = (found.hook, words, bundles, "publisher")
        world.plane.backups.drop()
        _, error = world.plane.call(lambda: control.resign(*given))
        world.met["signed again" if error is None else "signed again, and refused"] += 1
        return error  # type: ignore[no-any-return]


def _id(known: tuple[keys.Ed25519PrivateKey, ...], number: int) -> str:
    return keys.keyid(known[number].public_key())
