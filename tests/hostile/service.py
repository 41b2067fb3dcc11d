"""Attacks on a service: what a program answers on the request path, and what is delivered."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import gnomon
from gnomon.sdk import bundle as bundles
from gnomon.sdk import dsse
from gnomon.sdk.errors import TrustError
from gnomon.sdk.guard import Limits
from gnomon.sdk.hook import Hook
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.language import check
from gnomon.sdk.manifest import Anchors, ManifestGuard
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.state import StateStore
from gnomon.testing import FakeClock, force, recording
from gnomon.v1 import policy_pb2

from ..delivery.conftest import HOOK, World
from ..fuzz.signing import changed_bundle
from ..sdk.common import READ, Item, run
from .attack import Attack

_CALLS = 20
#: What a refusal says, by the layer that it comes from.
_WORDS = {
    "signature": (
        "not a trusted key",
        "does not match",
        "signatures on",
        "is no",
        "payload type",
        "holds another",
    ),
    "contract": ("is for ",),
    "language": ("language check",),
    "golden": ("golden vectors",),
    "epoch": ("epoch",),
    "plan": ("plan", "phase"),
    "freshness": ("expired", "ahead", "lease"),
}
SOURCE = "def score(inflight, ewma_ms):\n    return (inflight + 1) * ewma_ms\n"


def answered(attack: Attack) -> tuple[str, str, str]:
    """Let an attack decide in a hook; return what stopped it, what it got, and what was recorded.

    What it may get is an exception in the service, or an item that the service must not be given.
    """
    clock, calls = FakeClock(), itertools.count()
    space = {"math": math, "clock": clock, "calls": calls}
    choose: Callable[..., Any] = eval(attack.source, space)
    backends = [Item("a"), Item("b"), Item("c", inflight=9)]
    before = dict(RUNTIME.hooks)
    pick: Any = gnomon.hook(f"hostile.{id(clock)}", **READ)(lambda request, backends: backends[0])
    if attack.under == "orderly":
        gnomon.invariant(pick, name="orderly")(lambda items, picked: picked.inflight < 5)
    try:
        with recording(clock=clock, limits=Limits(slow=4)) as seen:
            run(pick, choose)
            picked = [pick(None, backends) for _ in range(_CALLS)]
            details = [decision.detail for decision in seen.decisions]
            hook: Any = Hook.of(pick)
            counters, breaker = dict(hook.counters), hook.breaker
    except Exception as error:  # noqa: BLE001 - that is what the service would have met
        return "", f"an exception in the service: {type(error).__name__}", ""
    finally:
        RUNTIME.hooks.clear()
        RUNTIME.hooks.update(before)
    usable = {"slow answers": backends[1], "faults now and then": backends[1]}.get(attack.name)
    if any(item is not backends[0] and item is not usable for item in picked):
        return "", "an item that is not the incumbent's", str(details)
    if not breaker or counters["decisions"] != _CALLS:
        return "", "went on for ever", str(details)
    stopped = "breaker" if usable is not None else "guard"
    return stopped, "", f"{details[0]}; {breaker}"


def asked_in_service(
    source: str, states: list[list[tuple[float, float]]], invariant: Invariant | None
) -> tuple[list[int], list[str]]:
    """Let a policy decide in a load balancer's hook, whose incumbent takes the first, the idle item.

    Args:
        source: of the policy.
        states: of each call, for every item its requests and its latency.
        invariant: of the hook.

    Returns:
        the item of every call, and what was recorded about the decision.
    """
    before = dict(RUNTIME.hooks)
    pick: Any = gnomon.hook(
        "hostile.guarded",
        kind=gnomon.load_balancer,
        items="backends",
        item_features=lambda backend: (*backend[1], 1.0),
    )(lambda backends: backends[0])
    if invariant is not None:
        gnomon.invariant(pick, name=invariant.name)(invariant.holds)
    try:
        with recording() as seen:
            force(pick, source)
            picked = [pick([*enumerate(state)])[0] for state in states]
            return picked, [decision.detail for decision in seen.decisions]
    finally:
        RUNTIME.hooks.clear()
        RUNTIME.hooks.update(before)


def delivered(attack: Attack, folder: Path) -> tuple[str, str, str]:
    """Deliver an attack to a service; return what stopped it, and what was said."""
    service = _Service(folder / f"{attack.name}.state")
    *before, last = ast.parse(attack.source).body
    exec(_code(before), service.space)  # noqa: S102 - the corpus is ours
    try:
        exec(_code([last]), service.space)  # noqa: S102 - the corpus is ours
    except TrustError as error:
        said = str(error)
        named = any(word in said for word in _WORDS[attack.stopped_by])
        return attack.stopped_by if named else "another reason", "", said
    return "", "it was accepted", ""


def _code(statements: list[ast.stmt]) -> CodeType:
    return compile(ast.Module(statements, []), "<attack>", "exec")


class _Service:
    """What a service trusts, and the attacker's means: its own keys, and whatever others once signed."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self._store = StateStore(folder)
        self._anchors = self.world.anchors
        self._guard = ManifestGuard(HOOK, self._anchors)
        program = check(SOURCE, self.world.kind.input_names)
        self.payload = bundles.build_bundle(program, HOOK, self.world.kind, "e" * 64, {})
        self.space: dict[str, Any] = {
            "world": self.world, "payload": self.payload, "SOURCE": SOURCE, "P": policy_pb2,
            "BUNDLE": dsse.BUNDLE_TYPE, "math": math, "open": self.open, "signed": self.signed,
            "admit": self.admit, "restart": self.restart, "pin": self.pin, "flipped": flipped,
        }  # fmt: skip

    def open(self, envelope: policy_pb2.Envelope) -> None:
        """Open a bundle, as a service does before it says yes to one."""
        bundles.open_bundle(envelope, self._anchors.publishers, HOOK, self.world.kind)

    def admit(self, envelope: policy_pb2.Envelope) -> None:
        """Take a manifest, as a service does."""
        admitted = self._guard.check(envelope, self.world.now)
        self._guard.commit(admitted)
        self._store.save(HOOK, admitted.saved)

    def restart(self) -> None:
        """Begin again from what is on the disk."""
        self._guard = ManifestGuard(HOOK, self._anchors, self._store.load(HOOK))

    def pin(self, min_epoch: int) -> None:
        """Configure the least epoch."""
        self._anchors = Anchors(self._anchors.publishers, min_epoch=min_epoch)
        self._guard = ManifestGuard(HOOK, self._anchors)

    def signed(self, payload: bytes, signer: Any = None, **changes: Any) -> policy_pb2.Envelope:
        """Return a signed bundle, with fields changed before it was signed."""
        payload = changed_bundle(payload, **changes)
        return dsse.sign(dsse.BUNDLE_TYPE, payload, signer or self.world.publisher)


def flipped(envelope: policy_pb2.Envelope) -> policy_pb2.Envelope:
    """Return an envelope with one bit of its payload changed."""
    altered = bytearray(envelope.payload)
    altered[len(altered) // 2] ^= 1
    copy = policy_pb2.Envelope()
    copy.CopyFrom(envelope)
    copy.payload = bytes(altered)
    return copy
