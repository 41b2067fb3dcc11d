"""Rotation of publishers' keys under what is in force: it is shown, and takes further signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from gnomon.v1 import keys_pb2, policy_pb2

from ...sdk.errors import RolloutError
from . import signatures
from .bundles import Bundles
from .commits import Commits
from .desk import Desk
from .desks import Desks
from .identity import Trust
from .states import State
from .store import Happened


class Rotation:
    """What the hooks' newest rollouts rest on, to be signed again.

    Args:
        desks: the hooks.
        bundles: that they run or may bring back.
        trust: the pinned keys.
        commits: carries through a plan that was signed again.
        resigned: called with the digest of a bundle that has further signatures.
    """

    def __init__(
        self,
        desks: Desks,
        bundles: Bundles,
        trust: Trust,
        commits: Commits,
        resigned: Callable[[str], None],
    ) -> None:
        self._desks = desks
        self._bundles = bundles
        self._trust = trust
        self._commits = commits
        self._resigned = resigned

    def signed(self, hook: str = "") -> list[keys_pb2.InForce]:
        """Return what is in force, of all hooks or one."""
        found = ((desk, desk.state) for desk in self._desks.of(hook))
        return [self._in_force(desk, state) for desk, state in found if state is not None]

    def resign(
        self,
        hook: str,
        plan: policy_pb2.Envelope | None,
        bundles: Iterable[policy_pb2.Envelope],
        actor: str,
    ) -> None:
        """Take further signatures of what is in force; the same ones again change nothing.

        Raises:
            TrustError: no pinned key made them.
            RolloutError: they are of something else.
        """
        desk, identity = self._desks.get(hook), self._trust.identity
        if desk is None or desk.state is None:
            raise RolloutError(f"hook {hook!r} has no rollout, so nothing to sign again")
        known, pinned = desk.plan, identity.publishers
        if plan is not None:
            known = signatures.resigned_plan(known, plan, pinned, identity.signers())
        new = self._bundles.signed_again(bundles, pinned)
        for digest, data in new.items():
            self._bundles.put(digest, data)
            self._resigned(digest)
        if new or known != desk.plan:
            self._rest_on(desk, desk.state, known, sorted(new), actor)

    def _in_force(self, desk: Desk, state: State) -> keys_pb2.InForce:
        known = self._bundles.envelopes
        bundles = [known[d] for d in signatures.within_reach(state) if d in known]
        return keys_pb2.InForce(
            hook=desk.hook,
            rollout=state.plan.id,
            plan=policy_pb2.Envelope.FromString(desk.plan),
            bundles=map(policy_pb2.Envelope.FromString, bundles),
        )

    def _rest_on(
        self, desk: Desk, state: State, plan: bytes, bundles: list[str], actor: str
    ) -> None:
        """Go on under what was signed again, with a manifest of its own."""
        envelope = policy_pb2.Envelope.FromString(plan)
        after = replace(state, plan=self._bundles.plan(envelope))
        body: dict[str, Any] = {"hook": desk.hook, "bundles": bundles}
        body["plan_signed_by"] = self._trust.identity.signed_by(envelope)
        body |= {"rollout_keyid": after.plan.rollout_keyid, "epoch": desk.epoch + 1}
        told = Happened("keys.resigned", actor or "publisher", after.plan.id, body)
        self._commits.rest_on(desk, state, after, plan, told)
