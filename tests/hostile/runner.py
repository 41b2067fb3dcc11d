"""Runs the corpus against the product, and says what stopped each attack and what it got.

``successes()`` is for benchmarks too: with the repository's root on ``sys.path``, this module is
``tests.hostile.runner``.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import numpy as np

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import IsolationError
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.isolation.program import ProgramProcess
from gnomon.sdk.isolation.status import Status
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote
from gnomon.sdk.programs.questions import broken_by, question_of
from gnomon.shadow.gates.case import Target, VerifyOptions
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.isolation import compiled
from gnomon.shadow.isolation.lockstep import LockstepCandidate
from gnomon.shadow.policy import ScorePolicy
from gnomon.shadow.simulators import simulator_for

from ..isolation.systems import recorded
from ..programs.jobs import kind_of
from .attack import Attack
from .cells import INSIDE, SHORT, Cells, Outcome
from .corpus import CORPUS
from .service import answered, delivered

ROUND_ROBIN = load_balancer.baselines["round_robin"].source or ""
ORDERLY = Invariant(
    "orderly",
    lambda items, picked: picked.inflight <= min(item.inflight for item in items) + 10,
    description="The pick has at most 10 more outstanding requests than the least loaded item.",
)


def successes() -> list[str]:
    """Return the attacks of the whole corpus that got something, each put through the product as it is."""
    with Ground() as ground:
        outcomes = [(attack, ground.run(attack)) for attack in CORPUS]
    return [f"{attack.name}: {got.loot or got.said}" for attack, got in outcomes if got.success]


class Ground(Cells):
    """Where attacks are run: clean processes, a recorded system, a ledger; made as they are needed."""

    def run(self, attack: Attack) -> Outcome:
        """Run one attack against everything that there is."""
        match attack.form:
            case "score":
                return self.judged(attack)
            case "program":
                return self.programmed(attack)
            case "raw":
                return self.locked_in(attack)
            case "frame":
                return self.lied_to(attack)
            case "answer":
                return Outcome(*answered(attack))
            case "delivery":
                return Outcome(*delivered(attack, self._folder))

    # sources in score form

    @cached_property
    def trace(self) -> Any:
        """What two routers recorded that pick by round robin."""
        return recorded(40.0, seed=1)

    @cached_property
    def ledger(self) -> Ledger:
        """Where verdicts go."""
        ledger = Ledger(self._folder / "ledger.db")
        self._stack.callback(ledger.close)
        return ledger

    def target(self, attack: Attack) -> Target:
        """Return what an attack is verified for."""
        extra = (ORDERLY,) if attack.under == "orderly" else ()
        incumbent = ScorePolicy("incumbent", ROUND_ROBIN, load_balancer)
        invariants = (*load_balancer.invariants, *extra)
        return Target("router.pick", load_balancer, incumbent, invariants)

    def judged(self, attack: Attack) -> Outcome:
        """Put a source through all gates."""
        verdict = verify(
            self.trace,
            attack.source,
            self.target(attack),
            ledger=self.ledger,
            options=VerifyOptions(),
        )
        refused = verdict.decision == "refused"
        return Outcome(verdict.reason if refused else "", said=verdict.summary)

    # forks that were taken over

    @cached_property
    def taken_over(self) -> Zygote:
        """A clean process whose forks do what the source says."""
        return self._stack.enter_context(
            Zygote("taken_over_child", {}, limits=SHORT, paths=[INSIDE])
        )

    @cached_property
    def engine(self) -> compiled.CompiledEngine:
        """A compiled engine whose forks do what the source says."""
        calibrations = simulator_for(load_balancer).draws(self.trace, 1, 0)
        options = compiled.CompiledOptions(workers=1, deadline_s=1.0, paths=(INSIDE,))
        honest = compiled._ENTRY
        compiled._ENTRY = "taken_over_child"  # type: ignore[misc]
        try:
            engine = compiled.CompiledEngine(
                load_balancer, {"train": self.trace.rows(slice(0, 50))}, calibrations, options
            )
        finally:
            compiled._ENTRY = honest  # type: ignore[misc]
        return self._stack.enter_context(engine)

    def lied_to(self, attack: Attack) -> Outcome:
        """Ask a fork that was taken over, as the host that it lies to would."""
        hosts = {"lockstep": self._stepped, "program": self._asked, "compiled": self._ranked}
        begin = time.monotonic()
        try:
            layers, said = hosts[attack.under](attack)
        except CandidateStopped as stopped:
            layers, said = _STOPPED[stopped.status], stopped.detail
        except IsolationError as error:
            layers, said = ("frames",), str(error)
        harmless = len(said) <= 300 and said.isprintable() and said.isascii()
        patient = time.monotonic() - begin < 10.0
        if not (harmless and patient):
            return Outcome("", "text" if patient else "time", said)
        return Outcome(attack.stopped_by if attack.stopped_by in layers else layers[0], said=said)

    def _stepped(self, attack: Attack) -> tuple[tuple[str, ...], str]:
        batch = np.ones((20_000 if attack.name == "does not read" else 2, 3, 5))
        with LockstepCandidate(self.taken_over, attack.source, load_balancer) as candidate:
            picks = []
            for _ in range(2):
                picks.append(candidate.choose(batch).tolist())
                assert all(-1 <= pick < 3 for pick in picks[-1])
        return ("border",) if picks[0] == picks[1] else ("determinism", "border"), str(picks)

    def _asked(self, attack: Attack) -> tuple[tuple[str, ...], str]:
        kind, asked = kind_of(deadline_s=0.5), ([3.0, 1.0, 2.0], 2, [0, 0, 0])
        with ProgramProcess(self.taken_over, attack.source, kind) as process:
            answer = process.ask(asked)
        broken = broken_by(kind, kind.invariants, question_of(kind, asked), answer.outputs)
        return ("" if broken is None else "invariants",), ""

    def _ranked(self, attack: Attack) -> tuple[tuple[str, ...], str]:
        got = self.engine.submit(attack.source, "train").result(timeout=10.0)
        if got.status is not Status.OK:
            return _STOPPED[got.status], got.detail
        # It only ranks: whoever is to win with it is checked and scored again, by the host itself.
        stopped = self.checked(attack).layer
        return ("finals" if stopped else "",), "it may be tried, and has to win again"


_STOPPED: dict[Status, tuple[str, ...]] = {
    Status.TIMEOUT: ("deadline",),
    Status.DIED: ("process", "frames", "border"),
    Status.REJECTED: ("frames",),
    Status.FAULT: ("border",),
    Status.EVALUATOR_ERROR: ("frames",),
}
