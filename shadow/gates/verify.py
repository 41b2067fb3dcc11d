"""The gates that make an accepted policy a real win, in order of cost; the first that fails decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ...policies.rollout.ledger import Ledger
from ...sdk.errors import ConfigurationError
from ...sdk.isolation.zygote import CandidateStopped
from ..policy import clean_process
from ..profiles import profile_of
from ..simulators import simulator_for
from ..splits import split
from ..traces.trace import Trace
from . import behaviour as gate_behaviour
from . import program as gate_program
from .behaviour import language, stopped
from .case import Case, Target, VerifyOptions
from .fidelity import fidelity
from .invariants import invariants
from .keeping import keep
from .ran import Ran
from .regressions import Regressions
from .replay import bound, holdout, sampled, set_aside, validation
from .told import told
from .verdict import GATES, Decision, GateResult, Verdict

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

Progress = Callable[[GateResult], None]
Predicted = dict[str, dict[str, float]]
_LEAST_CALIBRATIONS = 8


def verify(
    trace: Trace,
    source: str,
    target: Target,
    *,
    ledger: Ledger,
    against: Mapping[str, str] | None = None,
    options: VerifyOptions | None = None,
    regressions: Regressions | None = None,
    progress: Progress | None = None,
    store: TraceStore | None = None,
) -> Verdict:
    """Put a candidate through the gates and record the verdict.

    Args:
        trace: recorded under the incumbent, the search's windows included.
        source: of the candidate.
        target: the hook that it wants, with kind, invariants and incumbent.
        ledger: takes the verdict, and counts openings of the holdout.
        against: sources of other policies to compare with, for example the one in production.
        options: how to run.
        regressions: cases of earlier candidates, which are asked, and what is found now is added to; None
            for none.
        progress: is called with every gate's answer as it comes.
        store: that the trace was read from, for the profile of features that it does not hold itself.

    Returns:
        the verdict; a candidate's own failure is a refusal, never an exception.

    Raises:
        ConfigurationError: trace and target do not belong together.
        TraceError: the trace is too little to calibrate a simulator.
        IsolationError: the isolation that was asked for cannot be had.
        TrustError: the ledger does not hold.
    """
    chosen = options or VerifyOptions()
    chosen = replace(chosen, actor=chosen.actor or "verify")
    _check(trace, target, chosen)
    with _case(trace, source, target, ledger, _digests(against or {}), chosen) as case:
        case.regressions = regressions
        gates, predicted = _ask(case, progress or _silent)
        verdict = _verdict(case, gates, predicted)
    if verdict.decision == "accepted":
        verdict = replace(verdict, profile=profile_of(trace, target.kind, store))
    verdict.record(ledger, chosen.actor)
    return verdict


def _check(trace: Trace, target: Target, options: VerifyOptions) -> None:
    if trace.kind != target.kind.name:
        raise ConfigurationError(
            f"trace {trace.hook!r} is of kind {trace.kind!r}, the hook decides {target.kind.name!r}"
        )
    if options.calibrations < _LEAST_CALIBRATIONS:
        raise ConfigurationError(
            f"{options.calibrations} calibrations are too few; at least {_LEAST_CALIBRATIONS}"
        )


@contextmanager
def _case(
    trace: Trace,
    source: str,
    target: Target,
    ledger: Ledger,
    against: Mapping[str, str],
    options: VerifyOptions,
) -> Iterator[Case]:
    splits = split(trace).windows()
    with clean_process(target.kind, options.isolation, options.limits) as zygote:
        simulator = simulator_for(target.kind)
        yield Case(target, source, trace, splits, simulator, zygote, ledger, against, options)


def _ask(case: Case, progress: Progress) -> tuple[list[GateResult], Predicted]:
    """Ask every gate until one does not pass."""
    predicted: Predicted = {}

    def opened(case: Case) -> GateResult:
        result, effects = holdout(case)
        predicted.update(effects)
        return result

    ours: Any = gate_program if case.kind.form == "program" else gate_behaviour
    gates: tuple[Callable[[Case], GateResult], ...] = (
        language,
        ours.determinism,
        gate_program.invariants if case.kind.form == "program" else invariants,
        trusted,
        sampled,
        validation,
        opened,
        bound,
        ours.budget,
    )
    answers: list[GateResult] = []
    for name, gate in zip(GATES, gates, strict=True):
        answers.append(_timed(name, gate, case))
        progress(answers[-1])
        if not answers[-1].passed:
            break
    return answers, predicted


def trusted(case: Case) -> GateResult:
    """Ask whether the evaluator is set aside, and if not, whether it reproduces what was recorded."""
    case.ran.saw("whole", case.trace)
    return set_aside(case, "fidelity") or fidelity(case)


def _timed(name: str, gate: Callable[[Case], GateResult], case: Case) -> GateResult:
    """Return a gate's answer with its duration, what it ran, and the case that it found, which is kept."""
    start = case.options.timer()
    case.ran = Ran()
    try:
        result = gate(case)
    except CandidateStopped as error:
        result = stopped(name, error)
    ran = case.ran.as_json(case.evaluator.digest, case.options.seed)
    evidence = {**result.evidence, "ran": ran} | keep(case, result)
    if warnings := case.take_warnings():
        evidence["warnings"] = warnings
    seconds = round(case.options.timer() - start, 3)
    return replace(result, evidence=evidence, seconds=seconds)


def _verdict(case: Case, gates: list[GateResult], predicted: Predicted) -> Verdict:
    last = gates[-1]
    decision = _decision(last)
    reason = "" if last.passed else str(last.evidence.get("blame", last.name))
    return Verdict(
        decision=decision,
        reason=reason,
        summary=told(decision, reason, gates, predicted, case),
        hook=case.target.hook,
        kind=case.kind.name,
        kind_version=case.kind.version,
        source=case.source,
        source_digest=hashlib.sha256(case.source.encode("utf-8", "surrogatepass")).hexdigest(),
        form=case.kind.form,
        gates=tuple(gates),
        fidelity=next((gate.evidence for gate in gates if gate.name == "fidelity"), {}),
        trace=case.trace.digest,
        splits={name: window.digest for name, window in case.splits.items()},
        # a candidate that was refused before any replay has cost no calibration
        calibration=case.calibration_digest if len(gates) > 1 else "",
        predicted=predicted,
        layers=case.zygote.layers if len(gates) > 1 else (),  # the first gate only reads it
        isolation=case.options.isolation,
        seed=case.options.seed,
        tool=_tool(),
        created_ns=case.options.clock(),
        evaluator=case.evaluator.digest,
        golden=_golden(gates),
    )


def _golden(gates: list[GateResult]) -> str:
    """Return the digest of the golden vectors that the determinism gate made in the candidate's process."""
    made = (str(gate.evidence.get("golden", "")) for gate in gates if gate.name == "determinism")
    return next(made, "")


def _decision(last: GateResult) -> Decision:
    if last.passed:
        return "accepted"
    return "inconclusive" if last.answer == "inconclusive" else "refused"


def _digests(against: Mapping[str, str]) -> dict[str, str]:
    """Return the sources by name; a name that is empty becomes the source's digest."""
    return {
        name or hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest(): source
        for name, source in against.items()
    }


@cache
def _tool() -> str:
    try:
        return f"gnomon {version('gnomon')}"
    except PackageNotFoundError:
        return "gnomon"


def _silent(_: Any) -> None:
    """Report nothing."""
