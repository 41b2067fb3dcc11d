"""The gates that need no replay: language, determinism, budget."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...sdk.bundle import VECTORS, Golden, golden_of
from ...sdk.errors import LanguageError
from ...sdk.isolation.zygote import CandidateStopped
from ...sdk.language import ArrayProgram, Program, golden_vectors
from ..evaluation import Evaluation, Status
from ..isolation.compiled import CompiledEngine, CompiledOptions
from .case import Case
from .verdict import Answer, GateResult

Floats = npt.NDArray[np.float64]

_GENERATED_ROWS = 256
_RECORDED_DECISIONS = 256
#: What one decision over the recorded items may take.
MOST_US = 20.0
_TIMED = 50  # frames
#: The bare call that other measurements are a ratio to.
_BARE_CALLS = 20_000


def language(case: Case) -> GateResult:
    """Refuse a candidate outside the policy language, with line and reason."""
    try:
        case.program = case.kind.checked(case.source)
    except LanguageError as error:
        evidence = {"line": error.line, "reason": error.reason}
        return GateResult("language", "failed", str(error), evidence)
    nodes, fuel = case.program.nodes, _most_fuel(case.program)
    summary = f"Within the policy language: {nodes} nodes, at most {fuel} fuel."
    return GateResult("language", "passed", summary, {"nodes": nodes, "fuel_bound": fuel})


def _most_fuel(program: Program | ArrayProgram) -> int:
    return program.contract.max_fuel if isinstance(program, ArrayProgram) else program.fuel_bound


def determinism(case: Case) -> GateResult:
    """Refuse a candidate that answers the same question differently, in any tier."""
    rows, golden = _question_rows(case)
    batch = case.observed[:_RECORDED_DECISIONS]
    with case.candidate() as one, case.candidate() as two:
        first, second = one.scores(rows), two.scores(rows)
        picks = one.choose(batch), two.choose(batch)
        reference = one.scores(rows, reference=True)
    answers = {"second run": second, "reference interpreter": reference}
    answers["compiled"] = _compiled(case, rows)
    answers["golden vectors"] = np.concatenate((golden.answered, first[VECTORS:]))
    for name, other in answers.items():
        differ = np.flatnonzero(~_same(first, other))
        if len(differ):
            return _differs(
                case, name, rows[differ[0]], (float(first[differ[0]]), float(other[differ[0]]))
            )
    if (picks[0] != picks[1]).any():
        return GateResult("determinism", "failed", "Two runs picked different recorded items.")
    faults = int(np.isnan(first).sum())
    summary = (
        f"Two runs and three tiers agree on {len(rows)} rows and {len(batch)} recorded decisions."
    )
    evidence = {"rows": len(rows), "faults": faults, "golden": golden.digest}
    return GateResult("determinism", "passed", summary, evidence)


def _question_rows(case: Case) -> tuple[Floats, Golden]:
    """Return rows of the golden vectors, of others drawn the same way, recorded and stored ones."""
    assert isinstance(case.program, Program), "the language gate comes first"
    golden = golden_of(case.program, case.kind)
    drawn = golden_vectors(
        case.program, case.kind.inputs, _GENERATED_ROWS, case.options.seed + 1
    ).rows
    recorded = case.observed.reshape(-1, case.observed.shape[-1])[:_GENERATED_ROWS]
    stored = [known.question for known in case.known("")]
    case.ran.regressions += len(stored)
    asked = np.array(golden.asked, dtype=np.float64).reshape(-1, recorded.shape[1])
    return np.vstack([asked, np.array(drawn, dtype=np.float64), recorded, *stored]), golden


def _same(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Return where two answers are the same number, or both faults."""
    same: npt.NDArray[np.bool_] = (one == other) | (np.isnan(one) & np.isnan(other))
    return same


def _compiled(case: Case, rows: Floats) -> Floats:
    """Return the compiled tier's scores of the rows."""
    options = CompiledOptions(workers=1, isolation=case.options.isolation)
    trace = case.splits["train"].rows(slice(0, _RECORDED_DECISIONS))
    case.ran.used(case.calibrations[:1])
    with CompiledEngine(case.kind, {"train": trace}, case.calibrations[:1], options) as engine:
        answer = engine.scores(case.source, rows).result()
    if isinstance(answer, Evaluation):
        raise CandidateStopped(answer.status, answer.detail)
    scores: Floats = answer
    return scores


def _differs(case: Case, tier: str, row: Floats, scores: tuple[float, float]) -> GateResult:
    evidence = {
        "inputs": list(case.kind.input_names),
        "row": row.tolist(),
        "scores": list(scores),
        "tier": tier,
    }
    summary = f"First run {scores[0]!r}, {tier} {scores[1]!r} for the same row."
    return GateResult("determinism", "failed", summary, evidence)


def budget(case: Case) -> GateResult:
    """Refuse a candidate that costs its caller too much: fuel, size, microseconds a decision."""
    assert isinstance(case.program, Program), "the language gate comes first"
    kind, program = case.kind, case.program
    decision_us = _decision_us(case)
    bare_us = _bare_us(case)
    evidence = {
        "nodes": program.nodes,
        "max_nodes": kind.max_nodes,
        "fuel_bound": program.fuel_bound,
        "max_fuel": kind.max_fuel,
        "us_per_decision": round(decision_us, 3),
        "times_a_bare_call": round(decision_us / bare_us, 1),
        "max_us": MOST_US,
    }
    summary = (
        f"{decision_us:.1f} us a decision over {case.observed.shape[1]} items "
        f"({decision_us / bare_us:.0f} bare calls; at most {MOST_US:.0f} us)."
    )
    answer: Answer = "passed" if decision_us <= MOST_US else "failed"
    return GateResult("budget", answer, summary, evidence)


def _decision_us(case: Case) -> float:
    """Return the least microseconds of a decision in its own process, the border's share included."""
    batch = case.observed[:_RECORDED_DECISIONS]
    timer = case.options.timer
    best = float("inf")
    with case.candidate() as candidate:
        for _ in range(_TIMED):
            start = timer()
            candidate.choose(batch)
            best = min(best, timer() - start)
    return best / len(batch) * 1e6


def _bare_us(case: Case) -> float:
    """Return the microseconds of a call of an empty Python function."""
    timer = case.options.timer

    def bare(x: float) -> float:
        return x

    start = timer()
    for _ in range(_BARE_CALLS):
        bare(1.0)
    return max((timer() - start) / _BARE_CALLS * 1e6, 1e-3)


def stopped(name: str, error: CandidateStopped) -> GateResult:
    """Return the answer of a gate at which the candidate's process stopped; our own faults decide nothing."""
    ours = error.status is Status.EVALUATOR_ERROR
    evidence = {"status": str(error.status), "detail": error.detail}
    who = "The evaluator" if ours else "The candidate"
    summary = f"{who} stopped ({error.status}): {error.detail}."
    return GateResult(name, "inconclusive" if ours else "failed", summary, evidence)
