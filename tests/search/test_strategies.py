"""The published strategies: what each selects, keeps and refuses, and that every proposal counts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.authors.prompts import statement, templates
from gnomon.shadow.search.authors.prompts.builder import Prompts, Request
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.core import Search
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.proposers import Mutation
from gnomon.shadow.search.records import Brief, Budget, Draft, Outcome, Prompt, Proposal, Record
from gnomon.shadow.search.space import Space, seeds
from gnomon.shadow.search.strategies import STRATEGIES, Strategy, strategy
from gnomon.shadow.search.strategies.bandit import Ensemble, weights
from gnomon.shadow.search.strategies.map_elites import MapElites
from gnomon.shadow.search.strategies.pareto import Pareto
from gnomon.shadow.search.strategies.stagnation import Stagnation

if TYPE_CHECKING:
    from .conftest import RankEngine

SPACE = Space(load_balancer)
SEEDS = seeds(SPACE, "library")
PUBLISHED = ("map_elites", "bandit", "pareto")
Judge = Callable[[Proposal], Evaluation]


def judged(proposal: Proposal) -> Evaluation:
    """Give scores on five segments that have nothing to do with the program."""
    luck = random.Random(proposal.key)
    if luck.random() < 0.15:
        return Evaluation(luck.choice((Status.FAULT, Status.VIOLATION, Status.TIMEOUT)))
    segments = tuple(round(luck.uniform(1, 2), 2) for _ in range(5))
    return Evaluation(Status.OK, sum(segments) / 5, segments)


class Recorder:
    """A proposer that mutates, and remembers what was chosen for it."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []
        self._mutation = Mutation()

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        self.choices.append(choice)
        return self._mutation.propose(choice, context, rng)

    def learn(self, record: Record) -> None:
        pass


def searched(chosen: Strategy, folder: Path, evaluations: int, judge: Judge = judged) -> Search:
    with RunLog(folder / "run", {}) as log:
        search = Search(SPACE, chosen, log, budget=Budget(evaluations))
        while (proposal := search.ask()) is not None:
            assert isinstance(proposal, Proposal)
            search.tell(proposal, judge(proposal))
    search.finish()
    return search


def record(
    step: int, score: float, *, outcome: Outcome = Outcome.OK, place: str = "", source: str = "x"
) -> Record:
    fine = outcome is Outcome.OK
    source = f"def score(noise):\n    return noise * {step}.5\n" if source == "x" else source
    return Record(
        step,
        f"p{step}",
        f"k{step}",
        source,
        "wrap",
        ("p0",) if step else (),
        5,
        outcome,
        score if fine else float("nan"),
        (score,) * 5 if fine else (),
        place=place,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_run_cut_anywhere_goes_on_to_the_same_log(
    name: str, tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    options = Options(budget=Budget(60), seed=2, strategy=name)
    for folder, parallel in (("whole", 1), ("half", 4)):
        engine = rank_engine(parallel)
        evolve(load_balancer, engine, replace(options, parallel=parallel), tmp_path / folder)
        engine.close()
    whole = (tmp_path / "whole" / "log.jsonl").read_bytes()
    assert (tmp_path / "half" / "log.jsonl").read_bytes() == whole
    (tmp_path / "half" / "log.jsonl").write_bytes(whole[: len(whole) // 2])
    engine = rank_engine()
    evolve(load_balancer, engine, replace(options, resume=True), tmp_path / "half")
    engine.close()
    assert (tmp_path / "half" / "log.jsonl").read_bytes() == whole


@pytest.mark.parametrize("name", PUBLISHED)
def test_they_find_what_beats_the_published_policies_on_train(
    name: str, tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    engine = rank_engine()
    options = Options(budget=Budget(150), seed=0, strategy=name)
    result = evolve(load_balancer, engine, options, tmp_path)
    engine.close()
    assert result.baseline is not None
    assert result.best_by_step[-1][1] < 0.98 * result.baseline.train


@pytest.mark.parametrize("name", PUBLISHED)
def test_they_take_any_maker_a_writer_too(name: str, tmp_path: Path) -> None:
    class Asks(Recorder):
        def propose(self, choice: Choice, context: Context, rng: random.Random) -> Brief | None:  # type: ignore[override]
            if choice.parent is None:
                return None
            prompt = Prompt.of(("user", choice.parent.source))
            parents = (choice.parent.program,)
            return Brief("rewrite", prompt, "tiny", parents=parents, place=choice.place)

    with RunLog(tmp_path / "run", {}) as log:
        chosen = strategy(name, SEEDS, [(1.0, Asks()), (1.0, Mutation())])
        search = Search(SPACE, chosen, log, budget=Budget(60))
        luck, written = random.Random(0), 0
        while (asked := search.ask()) is not None:
            if isinstance(asked, Proposal):
                search.tell(asked, judged(asked))
            else:
                from gnomon.shadow.search.records import Reply

                source = f"def score(noise):\n    return noise * {luck.random()}\n"
                search.answer(asked, Reply(source if luck.random() < 0.7 else "", "prose"))
                written += 1
    assert written > 10
    assert search.counts[Outcome.UNANSWERED] > 0
    assert search.spent == "evaluations"


def test_the_published_arm_evaluates_the_seeds_and_ends(tmp_path: Path) -> None:
    search = searched(strategy("published", SEEDS), tmp_path, 200)
    assert [each.source for each in search.records] == list(SEEDS.values())
    assert search.spent == "exhausted"


def test_an_unknown_strategy_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigurationError, match="unknown strategy 'x'") as caught:
        strategy("x", SEEDS)
    assert all(name in str(caught.value) for name in STRATEGIES)


# --- MAP-Elites


def test_islands_take_turns_and_keep_their_children(tmp_path: Path) -> None:
    maker = Recorder()
    chosen = MapElites(SEEDS, [(1.0, maker)], islands=3, every=10**6)
    search = searched(chosen, tmp_path, 120)
    born = [each for each in search.records if each.place]
    assert all(each.place == str(each.step % 3) for each in born)
    assert len({each.place for each in born}) == 3
    home = {each.program: each.place for each in search.records if each.outcome is Outcome.OK}
    for choice in maker.choices:
        if choice.parent is not None:
            family = [choice.parent, *choice.others, *choice.pool]
            assert {home[each.program] for each in family} <= {"", choice.place}
    for place, island in chosen.islands.items():
        here = {each.program for each in island.elites.members}
        assert here == {name for name, home_of in home.items() if home_of in ("", place)}


def test_the_best_migrate_to_both_neighbours_whatever_the_proposals_became() -> None:
    chosen = MapElites({}, [(1.0, Recorder())], islands=4, every=5)
    chosen.learn(record(0, 1.0, place="0"))
    chosen.learn(record(1, 3.0, place="1"))
    lost = (Outcome.DUPLICATE, Outcome.INVALID, Outcome.FAULT, Outcome.NOT_NOVEL)
    for step in range(2, 20):  # none of these is any good, and all count
        chosen.learn(record(step, 0.0, outcome=lost[step % 4], place="2"))
    assert [len(each.elites.members) for each in chosen.islands.values()] == [2, 2, 1, 1]
    for step in range(20, 40):
        chosen.learn(record(step, 0.0, outcome=Outcome.FAULT))
    assert [len(each.elites.members) for each in chosen.islands.values()] == [2, 2, 2, 2]
    names = [each.elites.members[0].program for each in chosen.islands.values()]
    assert names == ["p0", "p1", "p1", "p0"]


def test_diversity_is_the_mean_distance_from_the_first_programs() -> None:
    from gnomon.shadow.search.strategies.shapes import likeness, shape

    chosen = MapElites({}, [(1.0, Recorder())], islands=1)
    rng, pool = random.Random(0), list(SEEDS.values())
    while len(pool) < 40:
        child = SPACE.dialect.mutated(rng.choice(pool), SPACE, rng)
        pool += [child[0]] if child and child[0] not in pool else []
    for step, source in enumerate(pool):
        chosen.learn(record(step, 1.0, source=source))
        first = [shape(each) for each in pool[: min(step + 1, 20)]]
        for index, earlier in enumerate(pool[: step + 1]):
            apart = [1 - likeness(shape(earlier), each) for each in first]
            _, diversity = chosen.islands["0"].elites.points[f"p{index}"]
            assert diversity == pytest.approx(sum(apart) / len(apart), abs=1e-12)


# --- Ensemble


def test_parents_are_likely_that_are_good_and_have_few_children() -> None:
    low, middle, high = weights([1.0, 2.0, 3.0], [0, 0, 0])
    assert low > middle > high
    assert weights([1.0, 1.0], [0, 3]) == pytest.approx([0.5, 0.125])
    assert all(weight > 0 for weight in weights([0.0, 0.0, 1e300], [0, 0, 0]))


def test_what_is_like_an_earlier_program_is_refused_before_it_costs_an_evaluation(
    tmp_path: Path,
) -> None:
    base = "def score(inflight, ewma_ms):\n    return inflight + {} * ewma_ms\n"
    chosen = Ensemble({"one": base.format(2.0)}, [(1.0, Script(base, (2.01, 2.02, 4.0)))])
    search = searched(chosen, tmp_path, 4)
    assert [each.outcome for each in search.records[:4]] == [
        *(Outcome.OK, Outcome.NOT_NOVEL, Outcome.NOT_NOVEL, Outcome.OK)
    ]
    assert search.records[1].reason == "like the program of step 0: 1.000"


class Script(Recorder):
    """A proposer of one text with given numbers."""

    def __init__(self, text: str, values: Sequence[float], operator: str = "jitter") -> None:
        super().__init__()
        self._drafts = [Draft(text.format(value), operator) for value in values]

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
        return self._drafts.pop(0) if self._drafts else None


def test_tuned_constants_and_seeds_are_never_refused(tmp_path: Path) -> None:
    base = "def score(inflight, ewma_ms):\n    return inflight + {} * ewma_ms\n"
    known = {"one": base.format(2.0), "two": base.format(2.01)}
    maker = Script(base, (2.02, 2.03), "constants")
    search = searched(Ensemble(known, [(1.0, maker)]), tmp_path, 4)
    assert search.counts == {Outcome.OK: 4}


def test_the_bandit_prefers_the_maker_that_gains(tmp_path: Path) -> None:
    """One maker doubles a number, which helps; the other one adds text that does not."""
    good = Script("def score(noise):\n    return noise * {}\n", [2.0**k for k in range(300)])
    poor = Script("def score(noise):\n    return noise / {}\n", [2.0**k for k in range(300)])
    for maker in (good, poor):
        maker._drafts = [replace(draft, parents=("p",)) for draft in maker._drafts]

    def judge(proposal: Proposal) -> Evaluation:
        source = proposal.draft.source
        return Evaluation(Status.OK, 100.0 - 0.2 * proposal.step if "*" in source else 100.0)

    search = searched(Ensemble(SEEDS, [(1.0, poor), (1.0, good)]), tmp_path, 150, judge)
    sides = Counter("*" in each.source for each in search.records if each.operator == "jitter")
    assert sides[True] > 2 * sides[False] > 0


@pytest.mark.parametrize(
    "outcome", [Outcome.REJECTED, Outcome.DUPLICATE, Outcome.INVALID, Outcome.OK, Outcome.STOPPED]
)
def test_stagnation_fires_after_so_many_proposals_whatever_became_of_them(outcome: Outcome) -> None:
    stagnation = Stagnation(200)
    assert not stagnation.heard(record(0, 1.0))
    heard = [stagnation.heard(record(step, 1.5, outcome=outcome)) for step in range(1, 401)]
    assert [index for index, fired in enumerate(heard, 1) if fired] == [200, 400]
    assert not stagnation.heard(record(500, 0.9))
    assert stagnation.waited == 0
    assert stagnation.heard(record(501, 0.8999, outcome=outcome)) is False
    assert stagnation.waited == 1  # a ten thousandth better is no better


def test_stagnation_brings_a_new_island_for_the_weakest(tmp_path: Path) -> None:
    chosen = Ensemble(SEEDS, [(1.0, Recorder())], islands=2, patience=40)
    searched(chosen, tmp_path, 150, lambda proposal: Evaluation(Status.OK, 1.0, (1.0,)))
    assert len(chosen.islands) == 2
    assert max(map(int, chosen.islands)) >= 3


def test_where_nothing_is_proposed_no_island_comes_or_goes() -> None:
    class Silent(Recorder):
        quiet = True

        def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | None:
            return None if self.quiet else super().propose(choice, context, rng)

    maker, archive = Silent(), Archive(5)
    chosen = Ensemble({}, [(1.0, maker)], islands=2, patience=3)
    waits = Context(SPACE, archive, step=9, settled=False)
    assert chosen.draft(waits, random.Random(0)) is None
    assert chosen.islands == {}
    maker.quiet = False
    source = next(iter(SEEDS.values()))
    for step in range(5):
        chosen.learn(record(step, 1.0, source=source))
        archive.add(record(step, 1.0, source=source))
    assert chosen.draft(waits, random.Random(0)) is not None
    for step in range(5, 10):
        chosen.learn(record(step, 1.0, source=source))
    before, maker.quiet = dict(chosen.islands), True
    assert chosen.draft(waits, random.Random(0)) is None
    assert chosen.islands == before
    maker.quiet = False
    assert chosen.draft(waits, random.Random(0)) is not None
    assert chosen.islands.keys() != before.keys()


def test_without_a_sound_program_a_broken_one_is_to_be_fixed(tmp_path: Path) -> None:
    maker = Recorder()
    chosen = Ensemble(SEEDS, [(1.0, maker)])
    searched(chosen, tmp_path, 30, lambda proposal: Evaluation(Status.FAULT))
    noted = [choice for choice in maker.choices if choice.parent is not None]
    assert noted
    assert {choice.note for choice in noted} == {"fix"}


# --- Pareto


def test_a_child_is_tried_on_a_few_segments_first_against_its_parent(tmp_path: Path) -> None:
    maker = Recorder()
    search = searched(Pareto(SEEDS, [(1.0, maker)], minibatch=2), tmp_path, 80)
    known = {each.program: each for each in search.records if each.outcome is Outcome.OK}
    few = [choice for choice in maker.choices if choice.note == "reflect"]
    assert len(few) > 20
    for choice in few:
        assert choice.parent is not None
        assert choice.trial is not None
        assert choice.trial.first == choice.segments
        parent = known[choice.parent.program].segments
        mean = sum(parent[index] for index in choice.segments) / 2
        assert choice.trial.first_bar == pytest.approx(mean)


def test_every_segment_comes_up_before_one_comes_up_again() -> None:
    chosen = Pareto({}, [(1.0, Recorder())], minibatch=2)
    chosen.fronts.add(record(0, 1.0))
    rng = random.Random(0)
    drawn = []
    for _ in range(50):
        drawn.append(chosen._few(rng))
        chosen._uses.update(drawn[-1])
    counts = Counter(index for few in drawn for index in few)
    assert all(len(set(few)) == 2 for few in drawn)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_merging_takes_two_that_have_an_ancestor_no_better_than_either(tmp_path: Path) -> None:
    maker = Recorder()
    search = searched(Pareto(SEEDS, [(1.0, maker)]), tmp_path, 200)
    by_program = {r.program: r for r in search.records if r.outcome is Outcome.OK}

    def line(each: Record) -> list[str]:
        names = [each.program]
        while by_program[names[-1]].parents:
            names.append(by_program[names[-1]].parents[0])
        return names

    merges = [choice for choice in maker.choices if choice.note == "merge"]
    assert merges
    for choice in merges:
        assert choice.parent is not None
        other, ancestor = choice.others
        assert choice.parent.score <= other.score <= ancestor.score
        assert ancestor.program in line(choice.parent)[1:]
        assert ancestor.program in line(other)[1:]


@pytest.mark.parametrize(
    ("note", "words"),
    [("merge", "the last is what both came from"), ("reflect", "stretches to attend to")],
)
def test_a_writer_is_told_what_a_strategys_note_means(note: str, words: str) -> None:
    prompts = Prompts(templates.load(), statement.of_space(SPACE))
    parent = record(1, 1.0, source=next(iter(SEEDS.values())))
    _, (_, text) = prompts.build(Request("change", "full", parent, note=note)).messages
    assert words in " ".join(text.split())
    assert f"\n{note}\n" not in text
