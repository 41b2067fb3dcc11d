"""What a gate found against a candidate, kept as a regression case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .case import Case
from .regressions import Regression
from .verdict import GateResult


def keep(case: Case, result: GateResult) -> dict[str, Any]:
    """Keep the decision on which a gate refused a candidate, where there is one and a place for it.

    Returns:
        ``regression`` for the evidence: the case's digest, and why it could not be kept; or nothing.
    """
    found = _found(case, result)
    if found is None or case.regressions is None:
        return {}
    try:
        case.regressions.add(found)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return {"regression": {"digest": "", "problem": f"not kept: {why}"}}
    return {"regression": {"digest": found.digest, "problem": ""}}


def _found(case: Case, result: GateResult) -> Regression | None:
    evidence = result.evidence
    if result.answer != "failed":
        return None
    if "counterexample" in evidence:
        told = evidence["counterexample"]
        program = "question" in told
        return _regression(
            case,
            result,
            invariant=told["invariant"],
            question=told["question"] if program else told["items"],
            answer=told["answer"] if program else told["action"],
            detail=told["detail"],
        )
    if result.name == "determinism" and "tier" in evidence:
        question = evidence["question"] if "question" in evidence else [evidence["row"]]
        return _regression(
            case, result, invariant="", question=question, answer=None, detail=result.summary
        )
    return None


def _regression(case: Case, result: GateResult, *, question: Any, **about: Any) -> Regression:
    kind = case.kind
    inputs = tuple(question) if isinstance(question, Mapping) else kind.input_names
    return Regression(
        hook=case.target.hook,
        kind=kind.name,
        kind_version=kind.version,
        form=kind.form,
        inputs=inputs,
        question=question,
        source=case.source,
        gate=result.name,
        created_ns=case.options.clock(),
        **about,
    )
