"""A mean latency that no scheduling policy can beat.

Whatever c workers do, one worker of c times the speed could do with the same ends (it shares its time
among the jobs that they run), and on one worker shortest remaining processing time has the smallest sum
of latencies (Schrage, 1968). So that sum, over the same jobs with their true sizes, bounds every policy,
with or without preemption. Neither does a job end before its own service time has passed.

Latencies are clipped at C, so a policy may give up a set D of jobs at the price of C each. Within one busy
period of the fast worker, of length B, adding the jobs of D to shortest remaining processing time of the
others at the lowest priority costs no more than B each, hence ``all <= others + |D| B``. What is paid is at
least ``others + |D| C``, and at least ``|D| C``; the smallest of the larger of these is ``all min(1, C/B)``.
"""

from __future__ import annotations

import numpy as np

from ..base import FloatArray, IntArray
from . import kernel
from .preemptive import srpt


def least_sum_ms(model: kernel.Model, clip_ms: float) -> FloatArray:
    """Return, per busy period of the fast worker, a sum of clipped latencies that no policy beats, f8[b]."""
    workers = model.workers.astype(np.float64)
    speed = np.repeat(workers, np.diff(model.edge))
    ones = np.ones(len(workers), np.int64)
    fast = model.service / speed
    _, done = srpt(model.arrival, fast, fast, model.edge, ones, 0.0)
    latency_ms = (done - model.arrival) * 1e3
    begins = _periods(model, fast)
    pooled = np.add.reduceat(latency_ms, begins)
    length_ms = np.add.reduceat(fast, begins) * 1e3
    alone = np.add.reduceat(np.minimum(model.service * 1e3, clip_ms), begins)
    least: FloatArray = np.maximum(pooled * np.minimum(1.0, clip_ms / length_ms), alone)
    return least


def _periods(model: kernel.Model, service: FloatArray) -> IntArray:
    """Return the jobs with which a busy period begins, i8[b]; jobs are in order of arrival."""
    first = np.zeros(len(service), np.bool_)
    for process in range(len(model.workers)):
        own = slice(int(model.edge[process]), int(model.edge[process + 1]))
        arrival, work = model.arrival[own], np.cumsum(service[own])
        if not len(arrival):
            continue
        # work that came before minus the time that passed, at its lowest: nothing was left to do
        left = np.concatenate(([0.0], work[:-1])) - arrival
        first[own] = left <= np.minimum.accumulate(left)
    return np.flatnonzero(first)
