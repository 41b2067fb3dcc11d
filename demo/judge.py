"""How a run of the demo ended, from nothing but its summary."""

from __future__ import annotations

from typing import Any

from .run import DemoExit

#: Cause of a rollout that was held because its horizon was reached, which is right for equal policies.
AT_HORIZON = "inconclusive: no decision after"


def judge(summary: dict[str, Any]) -> DemoExit:
    """Return how a run ended.

    ``WRONG`` is whatever must never happen: a ledger that does not hold, a candidate let through that
    must be refused, users who noticed, a wrong or an equal policy promoted. ``GOOD`` needs everything
    that the demo is there to show; less than that is ``INCONCLUSIVE``.
    """
    if _wrong(summary):
        return DemoExit.WRONG
    shown = _null(summary) if "null" in summary else _loop(summary)
    return DemoExit.GOOD if shown else DemoExit.INCONCLUSIVE


def _wrong(summary: dict[str, Any]) -> bool:
    rollouts, traffic = summary.get("rollouts", {}), summary.get("traffic", {})
    return (
        any(not ledger["ok"] for ledger in summary.get("ledgers", {}).values())
        or any(decision == "accepted" for decision in summary.get("refused", {}).values())
        or any(traffic.get(fault) for fault in ("non_2xx", "resets", "timeouts"))
        or rollouts.get("second", {}).get("state") == "STABLE"
        or bool(summary.get("null", {}).get("promoted"))
    )


def _loop(summary: dict[str, Any]) -> bool:
    rollouts, refused = summary.get("rollouts", {}), summary.get("refused", {})
    first, second = rollouts.get("first", {}), rollouts.get("second", {})
    return (
        bool(refused)
        and set(refused.values()) == {"refused"}
        and first.get("state") == "STABLE"
        and first["acked"] == first["clients"] > 0
        and second.get("state") == "ABORTED"
        and second["calibration"] == "recalibration required"
        and bool(summary.get("ledgers"))
    )


def _null(summary: dict[str, Any]) -> bool:
    causes = summary.get("rollouts", {}).get("first", {}).get("causes", [""])
    return bool(causes and causes[-1].startswith(AT_HORIZON))
