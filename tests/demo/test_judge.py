"""What counts as a good, a wrong and an inconclusive run."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gnomon.demo.judge import AT_HORIZON, judge
from gnomon.demo.run import DemoExit

GOOD: dict[str, Any] = {
    "ledgers": {"rollouts": {"ok": True}, "verdicts": {"ok": True}},
    "refused": {"hostile": "refused", "piles up": "refused"},
    "traffic": {"non_2xx": 0, "resets": 0, "timeouts": 0},
    "rollouts": {
        "first": {"state": "STABLE", "acked": 2, "clients": 2},
        "second": {"state": "ABORTED", "calibration": "recalibration required"},
    },
}
NULL: dict[str, Any] = {
    "ledgers": GOOD["ledgers"],
    "traffic": GOOD["traffic"],
    "null": {"promoted": False},
    "rollouts": {"first": {"causes": ["created", f"{AT_HORIZON} 24 pairs"]}},
}


def changed(summary: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    summary = copy.deepcopy(summary)
    *folders, name = path.split("/")
    place = summary
    for folder in folders:
        place = place[folder]
    place[name] = value
    return summary


def test_everything_that_is_to_be_shown_is_good() -> None:
    assert judge(GOOD) is DemoExit.GOOD
    assert judge(NULL) is DemoExit.GOOD


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ledgers/verdicts/ok", False),
        ("refused/hostile", "accepted"),
        ("traffic/timeouts", 1),
        ("traffic/resets", 2),
        ("traffic/non_2xx", 3),
        ("rollouts/second/state", "STABLE"),
        ("null", {"promoted": True}),
    ],
)
def test_what_must_never_happen_is_wrong(path: str, value: Any) -> None:
    assert judge(changed(GOOD, path, value)) is DemoExit.WRONG


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("refused/hostile", "inconclusive"),
        ("refused", {}),
        ("ledgers", {}),
        ("rollouts/first/state", "HOLD"),
        ("rollouts/first/acked", 1),
        ("rollouts/second/state", "HOLD"),
        ("rollouts/second/calibration", "confirmed"),
        ("rollouts", {}),
    ],
)
def test_less_than_everything_is_inconclusive(path: str, value: Any) -> None:
    assert judge(changed(GOOD, path, value)) is DemoExit.INCONCLUSIVE


@pytest.mark.parametrize(
    "cause", ["inconclusive: 3 of 10 pairs were left out", "objective worse", ""]
)
def test_a_null_run_that_was_too_noisy_is_inconclusive(cause: str) -> None:
    assert judge(changed(NULL, "rollouts/first/causes", [cause])) is DemoExit.INCONCLUSIVE
