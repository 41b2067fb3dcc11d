"""Fit what a prefill takes to recorded requests: so much for each, so much a token, and what is left.

A replica prefills in order, so a request whose first token came at f began at the later of its arrival
and the first token before it; what lies between is its prefill. Where all slots were taken it waited for
one too, which is rare and only ever adds: the fit is one of least absolute errors, which a few such leave
alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....policies.llm_router import llm_router
from ...traces.prompt_trace import PromptTrace
from ..base import FloatArray, IntArray

#: A replica that was picked less often has the speed that was said.
LEAST_PICKS = 30
_ROUNDS = 40
QUANTILES = 256
#: Which of a replica's prefills a fit is made to.
Sample = Callable[[int], IntArray]


def everything(count: int) -> IntArray:
    """Return all of them."""
    return np.arange(count)


def prefills(
    trace: PromptTrace, rate: float, sample: Sample
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return, per replica, seconds for each prefill, tokens per second, and quantiles of the rest.

    The shapes are f8[r], f8[r] and f8[r, k].

    Args:
        trace: with outcomes.
        rate: tokens per second that were said.
        sample: of each replica's prefills.
    """
    r = len(trace.members)
    base, rates, residual = np.zeros(r), np.full(r, rate), np.zeros((r, QUANTILES))
    answered = (trace.action >= 0) & (trace.ttft_ms < llm_router.objective.clip)
    for replica in range(r):
        at = np.flatnonzero(answered & (trace.action == replica))
        if len(at) < LEAST_PICKS:
            continue
        first = trace.at[at] + trace.ttft_ms[at] / 1e3
        before = np.concatenate(([-np.inf], np.maximum.accumulate(first)[:-1]))
        took = first - np.maximum(trace.at[at], before)
        rows = sample(len(at))
        tokens, took = trace.new_tokens[at][rows], took[rows]
        base[replica], rates[replica] = _line(tokens, took, rate)
        rest = took - base[replica] - tokens / rates[replica]
        residual[replica] = np.quantile(rest, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    return base, rates, residual


def _line(tokens: FloatArray, took: FloatArray, rate: float) -> tuple[float, float]:
    """Return the constant, not below 0, and the rate of least absolute errors."""
    if np.ptp(tokens) <= 0.1 * tokens.max():
        return max(float(np.median(took - tokens / rate)), 0.0), rate
    weight = np.ones(len(tokens))
    constant, slope = 0.0, 1.0 / rate
    for _ in range(_ROUNDS):
        design = np.stack((np.ones_like(tokens), tokens), axis=1) * weight[:, None]
        constant, slope = np.linalg.lstsq(design, took * weight, rcond=None)[0]
        error = np.abs(took - constant - slope * tokens)
        weight = 1.0 / np.sqrt(np.maximum(error, 1e-6))
    if constant < 0.0:
        constant, slope = 0.0, float(np.median(took / tokens))
    if slope <= 0.0:
        return max(float(np.median(took)), 0.0), rate
    return float(constant), float(1.0 / slope)
