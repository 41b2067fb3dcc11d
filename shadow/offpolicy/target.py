"""With which probability a policy in score form takes each item of a recorded decision.

A score is deterministic but for the feature ``noise``, which the host draws anew at every decision. Without it
the probabilities are exact: items that tie share the decision, because ties go to the lower noise. With it
they are shares over redraws of the noise, which leaves all estimators unbiased, being linear in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ...sdk.errors import CandidateError
from ...sdk.kind import NOISE, Kind
from ...sdk.language import check
from ..simulators.base import FloatArray
from ..traces.trace import DecisionTrace

#: Rows (n x inputs) to scores, NaN for a fault.
Scores: TypeAlias = Callable[[FloatArray], FloatArray]
REDRAWS = 32
_CHUNK = 20_000  # rows that are scored at once


@dataclass(frozen=True, eq=False)
class Target:
    """Probabilities, and how they came about.

    Attributes:
        probability: of each item, f8[n, m]; rows sum to 1.
        how: ``exact``, or how often noise was redrawn.
    """

    probability: FloatArray
    how: str


def target_of(
    trace: DecisionTrace, source: str, kind: Kind, scores: Scores, seed: int, redraws: int = REDRAWS
) -> Target:
    """Return the probabilities of a policy on recorded decisions.

    Args:
        trace: decisions.
        source: of the policy; read for what it reads.
        kind: what is decided.
        scores: runs it.
        seed: of the noise.
        redraws: of the noise, for a policy that reads it.

    Raises:
        CandidateError: a score faulted.
        LanguageError: the source lies outside the policy language.
    """
    program = check(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel)
    sign = 1.0 if kind.order == "lowest" else -1.0
    if NOISE.name not in program.arguments:
        keys = sign * _scored(trace.features, scores)
        best = keys == keys.min(axis=1, keepdims=True)
        return Target(best / best.sum(axis=1, keepdims=True), "exact")
    rng = np.random.default_rng(seed)
    rows = trace.features.copy()
    n, m, _ = rows.shape
    share = np.zeros((n, m))
    for _ in range(redraws):
        rows[:, :, -1] = rng.random((n, m))
        keys = sign * _scored(rows, scores)
        tied = np.where(keys == keys.min(axis=1, keepdims=True), rows[:, :, -1], np.inf)
        share[np.arange(n), tied.argmin(axis=1)] += 1.0 / redraws
    return Target(share, f"{redraws} redraws of noise")


def _scored(features: FloatArray, scores: Scores) -> FloatArray:
    n, m, width = features.shape
    flat = np.ascontiguousarray(features).reshape(n * m, width)
    parts = [scores(flat[at : at + _CHUNK]) for at in range(0, len(flat), _CHUNK)]
    found: FloatArray = np.concatenate(parts).reshape(n, m)
    faulty = np.flatnonzero(np.isnan(found).any(axis=1))
    if len(faulty):
        raise CandidateError(f"a score faulted at decision {faulty[0]}")
    return found
