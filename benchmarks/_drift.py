"""Rows of the watch over promoted policies: how often cycles are taken for drift, and whether a change is found.

The months are those of ``tests/rollout/cycles.py``, judged by the product's own profile, index and state machine
under the defaults of a ramp; beside them the rule of two days in a row and a week's grace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from _canary import upper_limit
from results import Row

from gnomon.policies.rollout.shipping import Ramp
from tests.rollout.cycles import Ended, Life, play

RUNS = 200
HOUR = 1.0 / 24.0
#: Largest share of runs, of the upper end of the exact 95 % interval.
LIMIT = 2.0
HASTY = Ramp(drift_windows=2, grace_s=7 * 86_400.0)


def rows() -> list[Row]:
    """Play all lives and return the rows."""
    found = []
    for week in ("weekends", "closed on Sundays"):
        for days, of in ((HOUR, "an hour"), (1.0, "a day")):
            what = f"drift, {week}, profile of {of}, 35 days"
            ends = _ends(Life(week, days), None, RUNS)
            found.append(_false(f"{what}: false notice", ends, lambda end: bool(end.notices)))
            found.append(_false(f"{what}: falsely taken back", ends, lambda end: end.lapsed >= 0))
            hasty = _ends(Life(week, days), HASTY, RUNS // 4)
            found.append(_share(f"{what}: false notice by two days in a row", hasty))
    holiday = _ends(Life("weekends", 1.0, 40, "holiday"), None, RUNS // 2)
    what = "drift, nine days of holidays: taken back"
    found.append(_false(what, holiday, lambda end: end.lapsed >= 0, 4.0))
    for change, target in (("doubled", 95.0), ("larger", None), ("slower", None)):
        life = Life("weekends", 1.0, 40, change)
        found.append(_noticed(life, _ends(life, None, RUNS // 2), target))
    return found


@cache
def _ends(life: Life, ramp: Ramp | None, runs: int) -> tuple[Ended, ...]:
    return tuple(play(seed, life, ramp) for seed in range(runs))


def _false(
    what: str, ends: Sequence[Ended], wrong: Callable[[Ended], bool], limit: float = LIMIT
) -> Row:
    hits, runs = sum(map(wrong, ends)), len(ends)
    high = 100.0 * upper_limit(hits, runs)
    note = f"upper end of the exact 95 % interval; {hits} of {runs} runs"
    return Row(what, high, "%", "lower", limit, (100.0 * hits / runs, high), None, note)


def _share(what: str, ends: Sequence[Ended]) -> Row:
    share = 100.0 * sum(bool(end.notices) for end in ends) / len(ends)
    lapsed = sum(end.lapsed >= 0 for end in ends)
    note = f"not the default; {lapsed} of {len(ends)} runs were taken back"
    return Row(what, share, "%", "lower", None, (share, share), None, note)


def _noticed(life: Life, ends: Sequence[Ended], target: float | None) -> Row:
    hits = sum(any(life.at < day <= life.at + 9 for day in end.notices) for end in ends)
    share, back = 100.0 * hits / len(ends), sum(end.lapsed >= 0 for end in ends)
    name = {
        "doubled": "load doubled on the same servers",
        "larger": "half of the items are large servers",
        "slower": "servers half as slow again",
    }[life.change]
    note = f"{hits} of {len(ends)} runs; taken back within 40 days: {back}"
    return Row(
        f"drift, {name}: noticed within nine days",
        share,
        "%",
        "higher",
        target,
        (share, share),
        None,
        note,
    )
