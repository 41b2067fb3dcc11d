"""How the work of a process that runs candidates ended."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How an evaluation ended; never encoded in the score."""

    OK = "ok"
    REJECTED = "rejected"  # outside the policy language
    FAULT = "fault"  # a score that faulted (domain, overflow, fuel)
    VIOLATION = "violation"  # an invariant did not hold
    STOPPED = "stopped"  # ended early: certainly not as good as was asked for
    TIMEOUT = "timeout"
    DIED = "died"
    EVALUATOR_ERROR = (
        "evaluator_error"  # our own fault: never blamed on the candidate, never cached
    )
