"""People and pipelines: they ship, order what they like, lose answers, and ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.policies.rollout.blocks import Exclusion
from gnomon.policies.rollout.calibration import RECALIBRATE
from gnomon.policies.rollout.states import ACTIVE, State, Status
from gnomon.sdk.bundle import bundle_digest
from gnomon.sdk.errors import GnomonError
from gnomon.v1 import policy_pb2

from ..events import Answered, Ordered, Planned, Signed
from . import publisher
from .weather import PATIENT, SECOND

if TYPE_CHECKING:
    from .world import World

_OPERATOR = "operator"
_ANY = ("hold", "resume", "promote", "abort", "retry", "kill", "recalibrated")
#: What is ordered on a rollout that waits for somebody.
_WAITING = ("resume", "promote", "retry", "retry", "abort", "recalibrated")


class Operators:
    """Whoever gives orders in a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._orders = 0
        self._verdicts = 0
        self.shipped = 0

    def turn(self) -> None:
        """Do something, or nothing, once a second."""
        world, rng = self._world, self._world.rng
        control = world.plane.control
        if control is not None and control.witnesses.disputes and rng.random() < 0.1:
            _, error = world.plane.call(lambda: control.accept("operator", "a copy was put back"))
            world.met["loss accepted" if error is None else "loss not accepted"] += 1
        for hook in world.hooks:
            state = self._newest(hook)
            active = state is not None and state.status in ACTIVE
            often = (
                world.weather.ships if state is not None and state.status is Status.STABLE else 0.4
            )
            if (not active and rng.random() < often) or rng.random() < 0.01 * often / 0.4:
                self._ship(hook, state)
            elif state is not None and state.status is Status.HOLD and rng.random() < 0.3:
                self._order(state, rng.choice(_WAITING))
            elif state is not None and state.calibration == RECALIBRATE and rng.random() < 0.2:
                self._order(state, "recalibrated")
            elif state is not None and rng.random() < world.weather.orders:
                self._order(state, rng.choice(_ANY))
            if (
                state is not None
                and state.watch is not None
                and rng.random() < 0.05 * world.weather.ships / 0.4
            ):
                self._verify(hook, state.stable)
            if rng.random() < world.weather.exclusions:
                self._exclude(hook)

    def _newest(self, hook: str) -> State | None:
        control = self._world.plane.control
        found = control.rollouts(hook) if control is not None else []
        return found[-1] if found else None

    def _ship(self, hook: str, state: State | None) -> None:
        world = self._world
        stable = state.stable if state is not None else "incumbent"
        number = world.rng.randrange(publisher.POLICIES)
        key = world.keys.publisher
        bundle = publisher.shipped(hook, number, key)
        if bundle_digest(bundle.payload) == stable:
            return
        self.shipped += 1
        plan_id, now = f"r{self.shipped}-{world.seed}", world.plane.clock()
        how = publisher.ramp(world.rng, patient=world.weather.ships <= PATIENT)
        plan = publisher.plan(hook, number, stable, plan_id, now, how, (key, world.keys.rollout))
        words = policy_pb2.RampPlan.FromString(plan.payload)
        planned = Planned(
            world.now, "publisher", hook, plan_id, stable, words.candidate, tuple(words.weights),
            words.lease_ns, words.not_after_unix_ns,
        )  # fmt: skip
        world.add(planned)
        world.add(Signed(world.now, "publisher", words.candidate, world.keys.keyid))
        world.draw_truth(hook, words.candidate)
        self._create(bundle, plan, 3)

    def _create(self, bundle: policy_pb2.Envelope, plan: policy_pb2.Envelope, tries: int) -> None:
        """Ship; where no answer comes, the same again later."""
        world = self._world
        control = world.plane.control
        error: Exception | None = RuntimeError("down")
        if control is not None:
            _, error = world.plane.call(lambda: control.create(bundle, plan, "ci"))
        if error is not None and not _unanswered(error):
            world.met["plan refused"] += 1
        elif error is not None and tries:
            world.met["plan sent again"] += 1
            world.after(2.0 * world.rng.random(), lambda: self._create(bundle, plan, tries - 1))

    def _order(self, state: State, action: str) -> None:
        world = self._world
        self._orders += 1
        request = f"q{self._orders}"
        world.add(Ordered(world.now, _OPERATOR, request, state.plan.id, action))
        self._send(request, state.plan.id, action, 4)

    def _send(self, request: str, rollout: str, action: str, tries: int) -> None:
        """Send an order; where no answer comes, and now and then after one, the same again."""
        world = self._world
        control = world.plane.control
        error: Exception | None = RuntimeError("down")
        if control is not None:
            given: Any = (rollout, action, "operator", request, request)
            _, error = world.plane.call(lambda: control.act(*given))
        if error is None or isinstance(error, GnomonError):
            world.add(Answered(world.now, _OPERATOR, request, error is None))
            world.met[f"order {action} {'done' if error is None else 'refused'}"] += 1
            if error is None:
                world.plane.show(rollout)
        again = world.rng.random() < (0.2 if error is None else 0.7)
        if tries and again and (error is None or _unanswered(error)):
            world.met["order repeated" if error is None else "order sent again"] += 1
            later = 5.0 * world.rng.random()
            world.after(later, lambda: self._again(request, rollout, action, tries - 1))

    def _again(self, request: str, rollout: str, action: str, tries: int) -> None:
        world = self._world
        world.add(Ordered(world.now, _OPERATOR, request, rollout, action))
        self._send(request, rollout, action, tries)

    def _verify(self, hook: str, policy: str) -> None:
        """Bring a fresh verdict on what is stable; now and then the same one twice."""
        world = self._world
        control = world.plane.control
        if control is None:
            return
        self._verdicts += 1
        said = publisher.reverification(
            hook, policy, self._verdicts, world.now, world.keys.publisher
        )
        for _ in range(world.rng.choice((1, 1, 2))):
            _, error = world.plane.call(lambda: control.reverify(said, "publisher"))
            world.met["verified again" if error is None else "verdict refused"] += 1

    def _exclude(self, hook: str) -> None:
        world = self._world
        control = world.plane.control
        if control is None:
            return
        begin = world.now - round(world.rng.uniform(0.0, 6.0) * SECOND)
        gap = Exclusion(begin, begin + 2 * SECOND, "lag")
        _, error = world.plane.call(lambda: control.exclude(hook, gap, "operator"))
        world.met["exclusion" if error is None else "exclusion refused"] += 1


def _unanswered(error: Exception) -> bool:
    """Return whether it is worth asking the same again."""
    return not isinstance(error, GnomonError) or "cannot be written" in str(error)
