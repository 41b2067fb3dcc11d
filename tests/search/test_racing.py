"""Racing: what is stopped could not have mattered, and a run with it ends like one without."""

from __future__ import annotations

import math
import random
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.context import Context
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.evaluating.racing import at_least, replays_saved, trial
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import Budget, Outcome, Record
from gnomon.shadow.search.space import Space

from .conftest import rank

SPACE = Space(load_balancer)
REPLAYS, LUCK = 4, 3


def record(step: int, segments: tuple[float, ...], nodes: int = 5) -> Record:
    score = math.fsum(segments) / len(segments)
    return Record(step, f"p{step}", f"k{step}", "", "", (), nodes, Outcome.OK, score, segments)


def context(archive: Archive) -> Context:
    return Context(SPACE, archive, step=0, settled=True)


means = st.tuples(*[st.integers(1, 12).map(float)] * 3)


@given(st.lists(st.tuples(means, st.integers(1, 9)), min_size=6, max_size=40), st.data())
def test_what_ends_by_the_bar_changes_no_archive(
    offered: list[tuple[tuple[float, ...], int]], data: st.DataObject
) -> None:
    """Whatever the archive holds: a program whose only replay ends its trial would be refused."""
    archive = Archive(capacity=5)
    for step, (segments, nodes) in enumerate(offered):
        archive.add(record(step, segments, nodes))
    found = trial(context(archive))
    if len(archive.members) < 5:
        assert found is None
        return
    assert found is not None
    late = record(99, data.draw(means), data.draw(st.integers(1, 9)))
    before = list(archive.members)
    if found.ends(0, late.score, late.segments):
        archive.add(late)
        assert archive.members == before


def test_a_program_that_leads_a_segment_is_not_stopped() -> None:
    archive = Archive(capacity=2)
    for step, segments in enumerate([(1.0, 5.0), (2.0, 2.0), (3.0, 1.0)]):
        archive.add(record(step, segments))
    found = trial(context(archive))
    assert found is not None
    assert found.ends(0, 50.0, (50.0, 50.0))
    assert not found.ends(0, 50.0, (0.5, 99.5)) and not found.ends(0, 50.0, (99.5, 0.5))


def test_a_segment_that_says_nothing_keeps_nobody() -> None:
    archive = Archive(capacity=2)
    for step in range(3):
        archive.add(record(step, (1.0, 2.0 + step), 9 - step))
    found = trial(context(archive))
    assert found is not None and found.ends(0, 9.0, (1.0, 17.0))


@pytest.mark.parametrize(
    ("replay", "segments", "ends"),
    [(0, (1.0, 9.0, 1.0), True), (0, (9.0, 1.0, 9.0), False), (1, (1.0, 9.0, 1.0), False)],
)
def test_the_proxy_is_looked_at_after_the_first_replay_alone(
    replay: int, segments: tuple[float, ...], ends: bool
) -> None:
    assert Trial(first=(1, 7), first_bar=5.0).ends(replay, 4.0, segments) is ends


@pytest.mark.parametrize("wrong", [{"bar": math.nan}, {"first_bar": math.nan}, {"first": (-1,)}])
def test_limits_that_say_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="limits are numbers"):
        Trial(**wrong)  # type: ignore[arg-type]


class Raced:
    """An engine of several replays that differ by luck, like the compiled one; stops when it may."""

    layers = ()

    def __init__(self) -> None:
        self.replays = 0

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        done: Future[Evaluation] = Future()
        done.set_result(self._evaluated(source, split, trial or Trial()))
        return done

    def _evaluated(self, source: str, split: Split, trial: Trial) -> Evaluation:
        base = rank(source, split)
        if base.status is not Status.OK:
            return base
        rng, worst = random.Random(source), Evaluation(Status.OK, -math.inf)
        for index in range(REPLAYS):
            self.replays += 1
            segments = tuple(each * rng.uniform(0.97, 1.03) for each in base.segments)
            score = 1.0 + math.fsum(segments) / len(segments)
            if score > worst.score:
                worst = Evaluation(Status.OK, score, segments)
            left = REPLAYS - 1 - index + LUCK
            if trial.ends(index, score, segments):
                certain = (("at_least", worst.score), ("replays_left", float(left)))
                return Evaluation(Status.STOPPED, metrics=certain)
        self.replays += LUCK
        return worst

    def close(self) -> None:
        """Have nothing to free."""


OPTIONS = Options(budget=Budget(110), seed=2)


@pytest.mark.parametrize(("strategy", "seed"), [("independent", 2), ("random", 3)])
def test_without_learning_a_run_with_racing_ends_like_one_without(
    tmp_path: Path, strategy: str, seed: int
) -> None:
    engines = Raced(), Raced()
    plain, raced = (
        evolve(
            load_balancer,
            engine,
            replace(OPTIONS, racing=racing, strategy=strategy, seed=seed),
            tmp_path / str(racing),
        )
        for racing, engine in zip((False, True), engines, strict=True)
    )
    assert raced.winner == plain.winner and raced.finalists == plain.finalists
    assert raced.best_by_step == plain.best_by_step
    stopped = raced.counts["stopped"]
    assert stopped > 10 and "stopped" not in plain.counts
    assert raced.counts["ok"] + stopped == plain.counts["ok"]
    assert raced.replays_saved == engines[0].replays - engines[1].replays > 4 * stopped
    logged = list(proposals(tmp_path / "True" / "log.jsonl"))
    assert replays_saved(logged) == raced.replays_saved


def test_the_default_finds_as_much_and_repeats(tmp_path: Path) -> None:
    first, again = (
        evolve(load_balancer, Raced(), replace(OPTIONS, parallel=n), tmp_path / str(n))
        for n in (1, 4)
    )
    assert first.counts["stopped"] > 0 and first.log_hash == again.log_hash
    plain = evolve(load_balancer, Raced(), replace(OPTIONS, racing=False), tmp_path / "plain")
    assert plain.log_hash != first.log_hash
    assert first.winner is not None and plain.winner is not None
    assert first.winner.validation == pytest.approx(plain.winner.validation, rel=0.05)


def test_what_is_certain_of_a_stopped_program_is_told_to_whoever_tunes() -> None:
    stopped = replace(record(0, (1.0,)), outcome=Outcome.STOPPED, metrics=(("at_least", 7.5),))
    assert at_least(stopped) == 7.5
    assert at_least(record(0, (2.0, 4.0))) == 3.0
    assert at_least(replace(stopped, outcome=Outcome.FAULT, metrics=())) == math.inf
