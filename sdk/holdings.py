"""What a process holds of its hooks for delivery: verified policies, measures, and the last good state on disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError

from gnomon.v1 import delivery_pb2, policy_pb2

from .assignment import Assignment
from .bundle import read_bundle
from .errors import TrustError
from .keyring import Pins
from .manifest import Anchors, Now
from .profile import FeatureCounter, Takers
from .session import HookLike, HookPolicy, Measure, Session, Step
from .state import StateStore

_log = logging.getLogger("gnomon.delivery")


class Holdings:
    """The hooks that are taken up, each with its policy, its measure and its counts of features.

    Args:
        hooks: returns the hooks of the process; asked again and again.
        store: keeps the last good state.
        anchors: keys and limits that are trusted from the start.
        cell: processes that share state and switch together.
        min_epochs: by hook, lowest epoch that is accepted, beside the anchors' for all.
        now: both clocks.

    Attributes:
        policies, measures, features: by hook.
        anchors: trusted now.
    """

    def __init__(
        self,
        hooks: Callable[[], Iterable[HookLike]],
        store: StateStore,
        anchors: Anchors,
        cell: str,
        min_epochs: Mapping[str, int],
        now: Callable[[], Now],
    ) -> None:
        self.policies: dict[str, HookPolicy] = {}
        self.measures: dict[str, Measure] = {}
        self.features: dict[str, FeatureCounter] = {}
        self.anchors = anchors
        self._hooks = hooks
        self._store = store
        self._cell = cell
        self._min_epochs = min_epochs
        self._now = now
        self.arm()

    def hooks(self) -> list[HookLike]:
        """Return the hooks that the process has at present."""
        return list(self._hooks())

    def arm(self) -> None:
        """Make the locks anew, which no process may inherit."""
        self._discovering = threading.Lock()
        self._trusting = threading.RLock()

    def let_go(self) -> None:
        """Hold nothing any more, as in a child: what there is belongs to the parent."""
        self.policies, self.measures, self.features = {}, {}, {}
        for hook in self.hooks():
            hook.measure = None

    def receive(
        self, session: Session, message: delivery_pb2.ServerMessage
    ) -> delivery_pb2.ClientMessage:
        """Carry out what a message asks for, and return the answer; raises what hostile input or a hook does."""
        with self._trusting:
            step = session.receive(message, self._now())
            self._apply(step)
        return step.reply

    def trust(self, pins: Pins) -> None:
        """Run from now on only what these keys signed."""
        _log.info(
            "%d publisher keys are pinned, %d revoked", len(pins.publishers), len(pins.revoked)
        )
        with self._trusting, self._discovering:
            self.anchors = replace(self.anchors, publishers=pins.publishers, revoked=pins.revoked)
            for name, policy in self.policies.items():
                assignment = policy.trust(self._anchors_of(name))
                if assignment is not None:
                    _log.warning(
                        "hook %s: what ran was signed by a key that is trusted no more", name
                    )
                    self._install(name, assignment)
                if policy.guard.epoch == 0:
                    self._store.forget(name)

    def _anchors_of(self, hook: str) -> Anchors:
        least = max(self.anchors.min_epoch, self._min_epochs.get(hook, 0))
        return replace(self.anchors, min_epoch=least)

    def _apply(self, step: Step) -> None:
        """Carry out a step: remembered before it runs, so that a crash cannot roll it back."""
        if step.keep is not None:
            self._store.keep(*step.keep)
        if step.save is not None:
            self._store.save(*step.save)
        if step.install is not None:
            self._install(*step.install)

    def _install(self, name: str, assignment: Assignment) -> None:
        measure = self.measures[name]
        measure.follow(assignment.design, assignment.epoch, self._now().unix_ns)
        features, digest = self.features[name], assignment.stable_digest
        features.follow(digest, self.policies[name].profiles.get(digest), assignment.epoch)
        for hook in self.hooks():
            if hook.name == name:
                hook.measure = Takers((measure, features))
                hook.install(assignment)

    def discover(self) -> bool:
        """Take up hooks that are new, with their state of an earlier life; return whether any is."""
        with self._discovering:
            new = [hook for hook in self.hooks() if hook.name not in self.policies]
            for hook in new:
                self._take_up(hook)
            return bool(new)

    def _take_up(self, hook: HookLike) -> None:
        saved = self._store.load(hook.name)
        policy = HookPolicy(
            hook.name,
            hook.kind,
            self._cell,
            self._anchors_of(hook.name),
            saved,
            has_outcomes=lambda: hook.has_outcomes,
        )
        if saved.epoch and not policy.guard.epoch:
            self._store.forget(hook.name)
        for digest, data in self._store.bundles().items():
            self._restore(policy, digest, data)
        if hook.name not in self.measures:
            self.measures[hook.name] = hook.new_measure()
            self.features[hook.name] = FeatureCounter(hook.kind.input_names)
        if policy.guard.current is not None:
            hook.install(policy.resumed())
        self.policies = {**self.policies, hook.name: policy}

    def _restore(self, policy: HookPolicy, digest: str, data: bytes) -> None:
        """Hold a bundle from disk; one that does not verify any more is left to be pushed again."""
        try:
            envelope = policy_pb2.Envelope.FromString(data)
            if read_bundle(envelope.payload).hook == policy.name:
                policy.add_bundle(digest, envelope)
        except (DecodeError, TrustError) as error:
            _log.warning("bundle %s on disk is not used: %s", digest[:16], error)
