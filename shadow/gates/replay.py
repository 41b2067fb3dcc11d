"""The gates that replay: a first part, the whole validation window, the holdout, the bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...sdk.errors import TraceError
from ...sdk.invariant import Violation
from ...sdk.isolation.zygote import CandidateStopped
from ...sdk.kind import Guardrail, Kind
from ..evaluation import Split, Status
from ..programs import ProgramViolation
from ..report.shown import percent, plain
from ..simulators.base import Replay
from ..splits import relative_change
from .case import Case
from .counterexample import counterexample
from .effects import Effect, statistic_effect, worst_mean_effect
from .evaluator import Beyond, beyond, quarantine, standing
from .holdout import Grant, Holdout, account, day, open_holdout
from .questions import question
from .verdict import Answer, GateResult

#: A first part of the validation window is enough to see gross damage.
SAMPLED_DECISIONS = 500
#: Twice the incumbent's mean on the first part is gross.
GROSS = 2.0
#: One-sided error of a guardrail's limit.
GUARDRAIL_ALPHA = 0.05


def sampled(case: Case) -> GateResult:
    """Refuse gross damage and violations early, on the first part of validation."""
    trace = case.splits["validation"].rows(slice(0, SAMPLED_DECISIONS))
    replays, broken = case.replays(trace, most=1)
    if broken:
        return _broken("sampled replay", case, broken)
    base = case.base("sampled", trace, most=1)
    if (left_out := _left_out("sampled replay", replays, base)) is not None:
        return left_out
    ratio = replays[0].mean / base[0].mean if base[0].mean > 0.0 else 1.0 + replays[0].mean
    evidence = {
        "decisions": len(trace),
        "candidate": replays[0].mean,
        "incumbent": base[0].mean,
        "ratio": ratio,
    }
    ours, theirs = (in_unit(each[0].mean, case.kind) for each in (replays, base))
    summary = f"Mean {ours} against the incumbent's {theirs} in the first {len(trace)} outcomes."
    answer: Answer = "passed" if ratio <= GROSS else "failed"
    return GateResult("sampled replay", answer, summary, evidence)


def in_unit(value: float, kind: Kind) -> str:
    """Return a value of the objective for people; a pure number has no unit, but more digits."""
    unit = kind.objective.unit
    return f"{value:.4f}" if unit == "1" else f"{value:.2f} {unit}"


def validation(case: Case) -> GateResult:
    """Refuse a candidate that does not beat the incumbent under every calibration of validation."""
    trace = case.splits["validation"]
    replays, broken = case.window("validation")
    if broken:
        return _broken("full replay", case, broken)
    unfit = _unfit(case, replays)
    if unfit:
        return GateResult("full replay", "failed", unfit)
    base = case.base("validation", trace)
    if (left_out := _left_out("full replay", replays, base)) is not None:
        return left_out
    changes = [
        float(relative_change(np.float64(one.mean), np.float64(other.mean)))
        for one, other in zip(replays, base, strict=True)
    ]
    evidence = {
        "calibrations": len(changes),
        "changes": plain(changes),
        "worst_candidate": max(replay.mean for replay in replays),
        "worst_incumbent": max(replay.mean for replay in base),
    }
    summary = (
        f"Changes the mean by {percent(min(changes))} to {percent(max(changes))} under "
        f"{len(changes)} calibrations."
    )
    if max(changes) >= 0.0:
        return GateResult("full replay", "failed", summary, evidence)
    before, broken = case.window("train")  # some invariants show in a longer replay only
    if broken:
        return _broken("full replay", case, broken)
    if unfit := _unfit(case, before):
        return GateResult("full replay", "failed", unfit)
    return GateResult("full replay", "passed", summary, evidence)


def holdout(case: Case) -> tuple[GateResult, dict[str, dict[str, float]]]:
    """Ask the holdout, once: better than the incumbent, and no worse on any guardrail.

    Returns:
        the answer, and the predicted effect against every policy compared with.
    """
    trace = case.splits["holdout"]
    opened = Holdout.of(trace)
    grant = open_holdout(case.ledger, opened, question(case), case.options.actor)
    spent = account(case.ledger, opened)
    evidence = {"opening": grant.opening, "account": spent.as_json()}
    if grant.spent:
        summary = (
            f"This time of the hook was opened as holdout {grant.opening - 1} times and is spent; "
            f"a newer trace is required, of traffic after {day(opened.end_ns)}."
        )
        return GateResult("holdout", "inconclusive", summary, evidence), {}
    result, predicted = _opened(case, grant)
    evidence |= result.evidence
    return replace(
        result, summary=f"{result.summary} {spent.words()}", evidence=evidence
    ), predicted


def _opened(case: Case, grant: Grant) -> tuple[GateResult, dict[str, dict[str, float]]]:
    replays, broken = case.window("holdout")
    if broken:
        return _broken("holdout", case, broken), {}
    unfit = _unfit(case, replays)
    if unfit:
        return GateResult("holdout", "failed", unfit), {}
    base = case.base("holdout", case.splits["holdout"])
    if (left_out := _left_out("holdout", replays, base)) is not None:
        return left_out, {}
    try:
        return judged(case, replays, grant.alpha, {"opening": grant.opening})
    except TraceError as error:  # too few blocks to say how much blocks vary
        summary = f"Too little data: {error}."
        return GateResult("holdout", "inconclusive", summary), {}


def judged(
    case: Case, replays: Sequence[Replay], alpha: float, evidence: dict[str, Any]
) -> tuple[GateResult, dict[str, dict[str, float]]]:
    """Answer from the candidate's replays of the holdout, whoever opened it.

    Args:
        case: the candidate's.
        replays: of the holdout, one per calibration.
        alpha: one-sided error that the answer may have.
        evidence: what is known of the opening; the figures are added.

    Returns:
        as :func:`holdout`.

    Raises:
        TraceError: too few blocks.
    """
    base = case.base("holdout", case.splits["holdout"])
    windows: tuple[Split, ...] = ("train", "validation")
    before = [(case.window(name)[0], case.base(name, case.splits[name])) for name in windows]
    effect = worst_mean_effect(replays, base, alpha, case.options.seed, before)
    means = {"candidate": _mean(replays), "incumbent": _mean(base)}
    others, stopped = _others(case, replays, alpha, means)
    effects = {"incumbent": effect} | others
    finite = {name: each for name, each in effects.items() if math.isfinite(each.high)}
    predicted = {name: _as_json(each) for name, each in finite.items()}
    rails = {rail.name: _rail(case, rail, replays, base) for rail in case.kind.guardrails}
    evidence |= {
        "alpha": alpha,
        "effect": plain(_as_json(effect)),
        "means": means,
        "guardrails": {
            name: plain(_as_json(change)) | {"margin": rail.margin, "relative": rail.relative}
            for rail in case.kind.guardrails
            for name, change in ((rail.name, rails[rail.name]),)
        },
    }
    answer, why = _answer(case, effect, rails)
    summary = (
        f"Changes the mean by {percent(effect.estimate)} "
        f"({percent(effect.low)} to {percent(effect.high)}, "
        f"one-sided error {alpha:.2g} each){why}."
    )
    if stopped:
        evidence["not_compared"] = stopped
        summary += "".join(
            f" Not compared with {name[:12]}: {why}." for name, why in stopped.items()
        )
    return GateResult("holdout", answer, summary, evidence), predicted


def _answer(case: Case, effect: Effect, rails: dict[str, Effect]) -> tuple[Answer, str]:
    """Return the answer and, in words, what stands in the way."""
    if effect.low >= 0.0:
        return "failed", ", worse than the incumbent"
    for rail in case.kind.guardrails:
        if rails[rail.name].estimate > rail.margin:
            return "failed", f", and guardrail {rail.name} is worse than its margin"
    if effect.high >= 0.0:
        return "inconclusive", ", which does not exclude no gain"
    for rail in case.kind.guardrails:
        if rails[rail.name].high > rail.margin:
            return "inconclusive", f", and guardrail {rail.name} may be worse than its margin"
    return "passed", ""


def _rail(case: Case, rail: Guardrail, replays: Sequence[Replay], base: Sequence[Replay]) -> Effect:
    return statistic_effect(
        replays,
        base,
        rail.statistic,
        rail.relative,
        alpha=GUARDRAIL_ALPHA,
        seed=case.options.seed,
        metric=rail.metric,
    )


def _others(
    case: Case, replays: Sequence[Replay], alpha: float, means: dict[str, float]
) -> tuple[dict[str, Effect], dict[str, str]]:
    """Compare with every other policy; add their means.

    Returns:
        the predicted effects by name; and why another stopped, which is not the candidate's fault.
    """
    predicted, stopped = {}, {}
    for name, source in case.against.items():
        try:
            base, _ = case.replays(case.splits["holdout"], source)
        except CandidateStopped as error:
            if error.status is Status.EVALUATOR_ERROR:
                raise
            stopped[name] = f"it stopped ({error.status}), {error.detail}"
            continue
        means[name] = _mean(base)
        predicted[name] = worst_mean_effect(replays, base, alpha, case.options.seed)
    return predicted, stopped


def _mean(replays: Sequence[Replay]) -> float:
    """Return the mean outcome, the median over calibrations."""
    return float(np.median([replay.mean for replay in replays]))


def set_aside(case: Case, name: str) -> GateResult | None:
    """Return the answer of a gate whose evaluator is in quarantine, so that nothing it says counts."""
    found = standing(case.ledger, case.evaluator.digest)
    if found is None:
        return None
    summary = (
        f"The evaluator {found.evaluator[:16]} is in quarantine ({found.why}): nothing that it says "
        "counts until somebody finds the fault and releases it with `gnomon quarantine release`."
    )
    return GateResult(name, "inconclusive", summary, {"blame": "evaluator", **found.as_json()})


def bound(case: Case) -> GateResult:
    """Quarantine the evaluator when a score is beyond what any policy can reach."""
    if found := set_aside(case, "bound"):  # by another verification, while this one ran
        return found
    if not case.kind.has_bound:
        summary = f"No bound is proven for kind {case.kind.name}."
        return GateResult("bound", "skipped", summary)
    trace = case.splits["holdout"]
    replays, _ = case.window("holdout")
    case.ran.saw("holdout", trace)
    case.ran.used(case.calibrations)
    limits = [
        case.simulator.bound(trace, calibration, case.seed(index, trace))
        for index, calibration in enumerate(case.calibrations)
    ]
    if not np.isfinite(limits).any():
        summary = "No bound is proven for a trace like this one."
        return GateResult("bound", "skipped", summary, {"proven": False})
    evidence = {"bounds": limits, "means": [replay.mean for replay in replays]}
    passed = [beyond(one.mean, limit) for one, limit in zip(replays, limits, strict=True)]
    if any(passed):
        summary = (
            "The score is beyond what any policy can reach: the evaluator is broken, "
            "and nothing it says counts. It is in quarantine now."
        )
        worst = passed.index(True)
        caught(case, replays[worst].mean, float(limits[worst]))
        return GateResult("bound", "failed", summary, evidence | {"blame": "evaluator"})
    means, bounds = np.median(evidence["means"]), np.median(limits)
    gap = (
        f"{means / bounds:.2f} times the bound" if bounds > 0.0 else "No better than the bound of 0"
    )
    return GateResult("bound", "passed", f"{gap}.", evidence)


def caught(case: Case, mean: float, limit: float) -> None:
    """Put the evaluator in quarantine, with what it was caught at."""
    unit = case.kind.objective.unit
    at = Beyond(mean, limit, case.source, case.trace.digest, case.splits["holdout"].digest, unit)
    quarantine(case.ledger, case.evaluator, at, case.options.actor)


def _left_out(name: str, replays: Sequence[Replay], base: Sequence[Replay]) -> GateResult | None:
    """Blame the evaluator where a replay does not account for the very decisions of the incumbent's."""
    for one, other in zip(replays, base, strict=True):
        whole = len(one.outcome) == len(one.ok) == len(one.time)
        if max(one.fault, other.fault) >= 0 or (whole and np.array_equal(one.time, other.time)):
            continue
        summary = (
            f"The replay accounts for {len(one.outcome)} decisions and the incumbent's for "
            f"{len(other.outcome)}, or for other ones: something was left out, the evaluator is broken, "
            "and nothing it says counts."
        )
        return GateResult(name, "failed", summary, {"blame": "evaluator"})
    return None


def _unfit(case: Case, replays: Sequence[Replay]) -> str:
    """Say which replay-level invariant does not hold first, and what it asks; or nothing."""
    for invariant in case.target.invariants:
        if invariant.scope != "replay" or invariant.severity != "block":
            continue
        if not all(_holds(invariant.holds, replay) for replay in replays):
            asks = f": {invariant.description}" if invariant.description else "."
            return f"{invariant.name} does not hold over the replay{asks}"
    return ""


def _holds(predicate: Any, replay: Replay) -> bool:
    try:
        return bool(predicate(replay.summary()))
    except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
        return False


def _broken(name: str, case: Case, broken: list[Violation] | list[ProgramViolation]) -> GateResult:
    evidence = {"counterexample": counterexample(case, broken[0])}
    return GateResult(name, "failed", f"{broken[0].invariant} broken: {broken[0].detail}", evidence)


def _as_json(effect: Effect) -> dict[str, float]:
    return {"estimate": effect.estimate, "low": effect.low, "high": effect.high}
