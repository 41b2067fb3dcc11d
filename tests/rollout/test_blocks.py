"""From block reports to judged pairs: complete, or left out with the arm at fault."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.blocks import (
    EXCLUDE_NS,
    GRACE_NS,
    Blocks,
    Exclusion,
    Report,
    Window,
    excluded,
)
from gnomon.policies.rollout.outcomes import Arm
from gnomon.sdk.assignment import Switchback

SECOND = 1_000_000_000
DESIGN = Switchback(b"salt" * 4, "a", SECOND, 0, 0, 0.5)
PAIR = 850_000_000
ENDED = (2 * PAIR + 2) * SECOND
SOON = ENDED + EXCLUDE_NS
LATE = ENDED + SECOND + GRACE_NS


def side(block: int) -> str:
    return "candidate" if DESIGN.candidate(block) else "stable"


def filled(*instances: str, skip: tuple[str, int] = ("", 0), **change: int) -> Blocks:
    blocks = Blocks()
    for instance in instances:
        for block in (2 * PAIR, 2 * PAIR + 1):
            if (instance, block) != skip:
                outcomes = Arm(10, 10.0 * (2 if side(block) == "candidate" else 1), 1)
                unresolved = change.get("unresolved", 0)
                blocks.put(Report(instance, "a", block, side(block), outcomes, unresolved, 0))
        blocks.heard(instance, change.get("heard", ENDED))
    return blocks


def judge(blocks: Blocks, now: int, *expected: str) -> Any:
    return blocks.judge(PAIR, DESIGN, SECOND, now, expected)


def test_a_complete_pair_is_judged_once_exclusions_had_time_and_pooled_over_processes() -> None:
    assert judge(filled("p", "q"), SOON - 1, "p", "q") is None
    point = judge(filled("p", "q"), SOON, "p", "q")
    assert point.left_out == ""
    assert (point.stable, point.candidate) == (Arm(20, 20.0, 2), Arm(20, 40.0, 2))


def test_a_missing_process_is_waited_for_then_held_against_the_pair() -> None:
    blocks = filled("p", "q", skip=("q", 2 * PAIR + 1))
    assert judge(blocks, SOON, "p", "q") is None
    point = judge(blocks, LATE, "p", "q")
    assert point.left_out == "process q has no decisions there"
    assert point.fault == side(2 * PAIR + 1)


def test_an_idle_process_is_waited_for_but_no_gap() -> None:
    blocks = filled("p")
    assert judge(blocks, SOON, "p", "idle") is None
    assert judge(blocks, LATE, "p", "idle").left_out == ""


def test_outcomes_that_are_still_awaited_leave_the_pair_out() -> None:
    blocks = filled("p", unresolved=3)
    assert judge(blocks, SOON, "p") is None
    point = judge(blocks, LATE, "p")
    assert (point.left_out, point.fault) == ("process p awaits 3 outcomes", "both")


def test_a_process_that_fell_silent_leaves_the_pair_out() -> None:
    point = judge(filled("p", heard=ENDED - SECOND), LATE, "p")
    assert (point.left_out, point.fault) == (
        "process p fell silent before the end",
        side(2 * PAIR + 1),
    )


def test_silence_of_all_is_no_data() -> None:
    assert judge(Blocks(), SOON) is None
    point = judge(Blocks(), LATE)
    assert (point.left_out, point.fault) == ("no report", "both")


def test_a_process_that_ran_the_other_arm_leaves_the_pair_out() -> None:
    blocks = filled("p", "q")
    wrong = {"stable": "candidate", "candidate": "stable"}[side(2 * PAIR)]
    blocks.put(Report("q", "a", 2 * PAIR, wrong, Arm(1, 1.0), 0, 0))
    assert judge(blocks, LATE, "p", "q").left_out == "process q ran another arm"


def test_a_process_that_left_is_asked_as_well() -> None:
    """Else what it served of one arm counts, and what its crash took from the other does not."""
    blocks = filled("p", "q", skip=("q", 2 * PAIR + 1))
    assert judge(blocks, SOON, "p") is None
    assert judge(blocks, LATE, "p").left_out == "process q has no decisions there"


def test_a_process_that_left_with_paired_outcomes_in_flight_is_waited_for() -> None:
    design, blocks = replace(DESIGN, paired=True), Blocks()
    for arm, count in (("stable", 3), ("candidate", 0)):
        blocks.put(Report("q", "a", 2 * PAIR, arm, Arm(count, 1.0 * count, 0), 3 - count, 0))
    blocks.heard("p", ENDED)
    blocks.heard("q", ENDED)
    assert blocks.judge(PAIR, design, SECOND, SOON, ["p"]) is None
    point = blocks.judge(PAIR, design, SECOND, LATE, ["p"])
    assert point is not None
    assert (point.left_out, point.fault) == ("process q awaits 3 outcomes", "candidate")


def test_a_later_report_replaces_an_earlier_one() -> None:
    blocks = filled("p")
    blocks.put(Report("p", "a", 2 * PAIR, side(2 * PAIR), Arm(5, 5.0), 0, 0))
    point = judge(blocks, SOON, "p")
    assert {point.stable.count, point.candidate.count} == {5, 10}


def test_forgetting_drops_old_blocks_of_one_cell() -> None:
    blocks = filled("p")
    blocks.put(Report("p", "b", 1, "stable", Arm(1, 1.0), 0, 0))
    blocks.forget("a", 2 * PAIR + 1)
    assert (blocks.of("a", 2 * PAIR), len(blocks.of("b", 1))) == ([], 1)
    assert blocks.cells() == {"a", "b"}


@given(st.integers(0, 40 * SECOND), st.integers(0, 40 * SECOND), st.integers(0, 60 * SECOND))
def test_a_windows_pairs_lie_whole_within_it(start: int, length: int, now: int) -> None:
    window = Window(0.5, start, start + length + 1)
    for pair in window.pairs(SECOND, now):
        assert start <= 2 * pair * SECOND
        assert (2 * pair + 2) * SECOND <= min(now, window.until_ns)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_an_exclusion_covers_what_it_touches(start: int, length: int) -> None:
    gap = Exclusion(start, start + length, "lag")
    touched = [b for b in range(2002) if gap.covers(b, 1000)]
    assert touched == list(range(start // 1000, math.ceil((start + length) / 1000)))


@pytest.mark.parametrize(("blocks", "fault"), [((0,), None), ((0, 1), "both"), ((), "")])
def test_excluded_blocks_take_their_pair_along(blocks: tuple[int, ...], fault: str | None) -> None:
    point = judge(filled("p"), SOON, "p")
    gaps = [
        Exclusion((2 * PAIR + blocks[0]) * SECOND, (2 * PAIR + blocks[-1] + 1) * SECOND, "lag")
        for _ in blocks[:1]
    ]
    after = excluded(point, DESIGN, gaps)
    assert after.fault == (side(2 * PAIR) if fault is None else fault)
    assert after.left_out == ("excluded: lag" if blocks else "")
