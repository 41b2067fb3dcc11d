"""Days, weeks and holidays are no drift by the default rule; a workload that changed is."""

from __future__ import annotations

import pytest

from gnomon.policies.rollout.shipping import Ramp

from .cycles import WEEKS, Ended, Life, play

HOUR = 1.0 / 24.0
SEEDS = range(5)


def ends(life: Life, ramp: Ramp | None = None) -> list[Ended]:
    return [play(seed, life, ramp) for seed in SEEDS]


@pytest.mark.parametrize("trace_days", [HOUR, 1.0])
@pytest.mark.parametrize("week", WEEKS)
def test_cycles_of_days_and_weeks_are_no_drift(week: str, trace_days: float) -> None:
    assert ends(Life(week, trace_days)) == [Ended((), -1.0)] * len(SEEDS)


def test_fewer_windows_than_a_week_has_days_cry_wolf() -> None:
    hasty = Ramp(drift_windows=2, grace_s=7 * 86_400.0)
    found = [end for week in WEEKS for end in ends(Life(week), hasty)]
    assert sum(bool(end.notices) for end in found) >= 3


def test_a_changed_workload_is_noticed_within_a_week_and_then_the_function_is_back() -> None:
    for at in (3, 10):  # also within the first week, in which nothing is learned but the first day
        for end in ends(Life("all days alike", 1.0, change="doubled", at=at)):
            assert at + 6.0 <= end.notices[0] <= at + 9.0
            assert end.lapsed == end.notices[0] + 14.0


def test_holidays_are_noticed_and_pass() -> None:
    found = ends(Life("weekends", HOUR, days=40, change="holiday"))
    assert any(end.notices for end in found)
    assert all(end.lapsed < 0 for end in found)
    hasty = Ramp(grace_s=86_400.0)
    assert any(end.lapsed > 0 for end in ends(Life(change="holiday"), hasty))
