"""Search over programs: children keep to language and contract, keys tell policies apart, runs repeat."""

from __future__ import annotations

import random
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import expert_placement
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.language import check_program
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.keyless.program_form import ProgramDialect, normal
from gnomon.shadow.search.records import Budget
from gnomon.shadow.search.space import Space, seeds

from .jobs import LONGEST, ROUND_ROBIN, jobs

SPACE = Space(jobs)
ONE, OTHER = "def decide(work, machine):\n", "def decide(machine, work):\n"


@given(seed=st.integers(0, 2**32))
def test_children_are_programs_of_the_kind(seed: int) -> None:
    rng = random.Random(seed)
    assert jobs.program is not None
    made = SPACE.dialect.mutated(LONGEST, SPACE, rng)
    assert made is not None
    check_program(made[0], jobs.program)
    assert made == SPACE.dialect.mutated(LONGEST, SPACE, random.Random(seed))
    crossed = SPACE.dialect.crossed(made[0], ROUND_ROBIN, SPACE, rng)
    if crossed is not None:
        check_program(crossed, jobs.program)


def test_a_packing_of_another_placement_is_taken_over() -> None:
    space = Space(expert_placement)
    eplb, snake = (str(expert_placement.baselines[name].source) for name in ("eplb", "snake"))
    found = {space.dialect.crossed(eplb, snake, space, random.Random(i)) for i in range(12)}
    assert any(child is not None and "dealt(share" in child for child in found)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("x = work[0]\n    machine[0] = x - x", "y = work[0]\n    machine[0] = y - y", True),
        ("'''Text.'''\n    machine[0] = 0  # why", "machine[0] = 0", True),
        ("machine[0] = 0", "machine[0] = 1", False),
        ("x = 1\n    y = 2\n    machine[0] = x", "x = 1\n    y = 2\n    machine[0] = y", False),
        ("machine[0] = work[0] - machine[0]", "machine[0] = machine[0] - work[0]", False),
    ],
)
def test_a_key_is_shared_only_by_one_policy(left: str, right: str, same: bool) -> None:
    one, other = (
        normal(f"{head}    {body}\n", "decide") for head, body in ((ONE, left), (OTHER, right))
    )
    assert (one == other) is same


def test_only_fractions_are_tuned() -> None:
    source = (
        "def decide(work, machines, machine):\n"
        "    for k in range(len(work)):\n"
        "        machine[k] = min(1, 0.25 + k * -1.5) % machines * 0\n"
    )
    dialect = ProgramDialect(jobs)
    assert dialect.constants(source) == (0.25, -1.5)
    other = dialect.with_constants(source, (0.5, 2.0))
    assert dialect.constants(other) == (0.5, 2.0)
    assert dialect.skeleton(source) == dialect.skeleton(other)
    assert dialect.key(source) != dialect.key(other)


class Counting:
    """An engine that likes programs with many constants; it never runs them."""

    layers = ()

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        score = 10.0 / (1.0 + len(ProgramDialect(jobs).constants(source))) + len(source) / 1e5
        done: Future[Evaluation] = Future()
        done.set_result(Evaluation(Status.OK, score, (score, score / 2.0)))
        return done

    def close(self) -> None:
        """Have nothing to free."""


@pytest.mark.parametrize("strategy", ["evolve", "independent", "seeds", "random"])
def test_a_search_is_a_function_of_its_seed(strategy: str, tmp_path: Path) -> None:
    options = Options(budget=Budget(evaluations=25, proposals=60), seed=4, strategy=strategy)
    one, two = (evolve(jobs, Counting(), options, tmp_path / name) for name in "ab")
    assert one.log_hash == two.log_hash
    assert one.winner == two.winner
    assert {f.name for f in one.finalists} >= {"longest_first", "round_robin"}
    if strategy == "evolve":
        assert one.winner is not None
        assert one.winner.name == "evolved"


@pytest.mark.parametrize("kept", [1, 9, 20])
def test_a_run_that_was_cut_short_ends_in_the_same_log(kept: int, tmp_path: Path) -> None:
    options = Options(budget=Budget(evaluations=20, proposals=60), seed=4)
    whole = evolve(jobs, Counting(), options, tmp_path / "whole")
    (log,) = (tmp_path / "whole").glob("*.jsonl")
    lines = log.read_text().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / log.name).write_text("".join(lines[:kept]) + lines[kept][:20])
    resumed = evolve(jobs, Counting(), replace(options, resume=True), tmp_path / "cut")
    assert resumed.log_hash == whole.log_hash
    assert (tmp_path / "cut" / log.name).read_text() == log.read_text()


def test_there_is_no_weak_start_for_programs() -> None:
    with pytest.raises(ConfigurationError, match="start='weak' is for kinds of score form"):
        seeds(SPACE, "weak")
    assert list(seeds(SPACE, "library")) == ["longest_first", "round_robin"]
