"""What the hook records, as plain tuples: the one shape that ring, encoder, sinks and recorder share."""

from __future__ import annotations

from typing import Literal, NamedTuple

Arm = Literal["incumbent", "stable", "candidate"]
#: Why this arm's answer was used; the values of ``gnomon.decision.reason``.
Reason = Literal["static", "split", "fallback", "explore", "shadow"]
Inclusion = Literal["sampled", "violation", "fallback"]

INCUMBENT = "incumbent"  # the policy "digest" of the function in the service's own source


class Decision(NamedTuple):
    """One call of a hook.

    Attributes:
        seq: per process and hook, from 0; with the process's id it is the decision's id.
        time_ns: Unix time when the features were read.
        duration_ns: time the decision took; -1 when not measured.
        unit: randomisation unit as given by ``unit=``, or an empty string.
        arm: whose answer was used.
        reason: why.
        detail: for a fallback what failed (``fault``, ``violation:NAME``, ``features``, ``breaker``).
        policy: digest of the policy that answered, or ``incumbent``.
        epoch: of the manifest in force; 0 without one.
        block: switchback block, of sticky arms the slice of the unit; -1 outside a canary or without a unit.
        action: index of the picked item.
        n_items: how many items there were.
        features: n_items x len(kind.inputs) floats, row by row.
        propensity: probability of this action under the arm's rule; 1.0 when deterministic.
        inclusion: why the record exists.
        trace_id, span_id: of the caller's span; 0 when there was none.
    """

    seq: int
    time_ns: int
    duration_ns: int
    unit: str
    arm: str
    reason: str
    detail: str
    policy: str
    epoch: int
    block: int
    action: int
    n_items: int
    features: tuple[float, ...]
    propensity: float
    inclusion: str
    trace_id: int
    span_id: int


class Outcome(NamedTuple):
    """What was measured after a decision.

    Attributes:
        seq: of the decision.
        time_ns: Unix time when it was reported.
        ok: whether the work succeeded.
        status: ``reported``, ``error`` (the block ended with an exception), ``cancelled`` or
            ``missing`` (absent at the deadline).
        values: (metric name, value) pairs.
        arm, block, decision_ns: copied from the decision, for aggregation without a join.
    """

    seq: int
    time_ns: int
    ok: bool
    status: str
    values: tuple[tuple[str, float], ...]
    arm: str
    block: int
    decision_ns: int


class Workload(NamedTuple):
    """One workload event of its own.

    Attributes:
        seq: per process and hook, from 0, apart from decisions.
        time_ns: Unix time.
        event: name of the kind's workload event.
        values: (field, value) pairs; a value is a str or a float.
    """

    seq: int
    time_ns: int
    event: str
    values: tuple[tuple[str, str | float], ...]


class WorkloadBatch(NamedTuple):
    """Many workload events of one name, as columns: what a busy cache records of its accesses.

    A store holds them as so many :class:`Workload` events.

    Attributes:
        seq: of the first event; the others follow it.
        event: name of the kind's workload event.
        times: Unix ns of every event, i8[n] little-endian.
        values: (field, f8[n] little-endian) pairs.
    """

    seq: int
    event: str
    times: bytes
    values: tuple[tuple[str, bytes], ...]


Record = Decision | Outcome | Workload | WorkloadBatch
