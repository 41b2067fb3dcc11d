"""Which plans may begin a rollout: they fit their bundle, this control plane, and where the hook stands."""

from __future__ import annotations

from collections.abc import Callable

from gnomon.v1 import policy_pb2

from ...sdk.errors import ConfigurationError, RolloutError
from ...sdk.records import INCUMBENT
from .bundles import Bundles
from .calibration import RECALIBRATE
from .desk import Desk
from .desks import Desks
from .identity import Trust
from .plan import Plan
from .states import ACTIVE, State


class Admission:
    """Refuses what cannot be carried out, or not now.

    Args:
        desks: rollouts until now.
        bundles: of these.
        trust: the keys that manifests are signed with.
        clock: gives Unix nanoseconds.
    """

    def __init__(
        self, desks: Desks, bundles: Bundles, trust: Trust, clock: Callable[[], int]
    ) -> None:
        self._desks = desks
        self._bundles = bundles
        self._trust = trust
        self._clock = clock

    def repeated(self, plan: Plan) -> State | None:
        """Return the rollout that a plan began before; raises RolloutError where its id was another plan's."""
        known = self._desks.known(plan.id)
        if known is not None and known.plan != plan:
            raise RolloutError(
                f"plan id {plan.id} was used for another plan; give this one its own"
            )
        return known

    def require(self, desk: Desk, plan: Plan, bundle: policy_pb2.Bundle, digest: str) -> None:
        """Refuse a plan that does not fit its bundle, this control plane, or the hook's state.

        Args:
            desk: of the hook.
            plan: verified.
            bundle: of its candidate, verified.
            digest: of the bundle.

        Raises:
            RolloutError: it does not fit; says in what.
            GnomonError: the candidate's source is none that services run.
        """
        own = self._trust.identity.keyid
        problem = (
            _misfit(plan, bundle, digest)
            or (
                plan.rollout_keyid != own
                and f"it names rollout key {plan.rollout_keyid[:16]!r}, "
                f"this control plane signs as {own[:16]}"
            )
            or (plan.not_after_ns <= self._clock() and "it has expired; make a new one")
            or _occupied(desk, plan)
            or self._uncalibrated(desk, bundle)
        )
        if problem:
            raise RolloutError(f"plan {plan.id}: {problem}")
        check_language(bundle)

    def _uncalibrated(self, desk: Desk, bundle: policy_pb2.Bundle) -> str:
        """Refuse what rests on a simulator that was found wrong, however long ago on this hook."""
        named = bundle.provenance.get("calibration", "")
        for state in self._desks.rollouts(desk.hook):
            if state.calibration != RECALIBRATE:
                continue
            before = self._bundles.read(state.plan.candidate).provenance.get("calibration", "")
            newest = desk.state is not None and state.plan.id == desk.state.plan.id
            if named in (("", before) if newest else (before,)) and (named or newest):
                break
        else:
            return ""
        return (
            f"recalibration required since rollout {state.plan.id}: verify on a newer trace, "
            "or record it with: gnomon rollout recalibrated"
        )


def _misfit(plan: Plan, bundle: policy_pb2.Bundle, digest: str) -> str:
    if plan.candidate != digest:
        return f"its candidate {plan.candidate[:16]!r} is not the bundle, which is {digest[:16]}"
    if plan.hook != bundle.hook:
        return f"it is for hook {plan.hook!r}, its bundle for {bundle.hook!r}"
    if plan.evidence_digest != bundle.evidence_digest:
        return "plan and bundle rest on different verdicts"
    return ""


def _occupied(desk: Desk, plan: Plan) -> str:
    if desk.state is None:
        stable = INCUMBENT
    elif desk.state.status in ACTIVE:
        return (
            f"rollout {desk.state.plan.id} of hook {desk.hook} is {desk.state.status}; wait for its end, or: "
            "gnomon rollout abort"
        )
    else:
        stable = desk.state.stable
    if plan.stable != stable:
        return f"it is against {plan.stable[:16]!r}, but {stable[:16]!r} is stable"
    return ""


def check_language(bundle: policy_pb2.Bundle) -> None:
    """Refuse early what every service would refuse; of a program, as far as its kind is known here."""
    from ...sdk.language import check, check_program
    from .. import registry

    if bundle.form != "program":
        check(bundle.source, tuple(bundle.inputs))
        return
    try:
        contract = registry.kind(bundle.kind).program
    except ConfigurationError:  # a kind of the service's own, whose contract only it has
        return
    if contract is not None:
        check_program(bundle.source, contract)
