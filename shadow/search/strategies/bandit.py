"""A bandit over the makers, weighted parents on islands, and refusal of what is not novel."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from statistics import median

from ..archive import Archive
from ..bandit import Bandit
from ..context import Choice, Context
from ..proposers import Bare, FromScratch, Probes, Proposer, Seeds
from ..records import Brief, Draft, Outcome, Proposal, Record
from .base import Makers, Strategy
from .novelty import Novelty
from .stagnation import Stagnation

#: Operators whose programs are meant to be like others, or were asked for: never refused.
_EXEMPT = ("constants", "seed:", "probe:", "bare:")


class Ensemble(Strategy):
    """Parents weighted by score and by how few children they have, makers chosen by a bandit.

    Source: ShinkaEvolve (arXiv 2509.19349). Changed: the bandit's arms are the makers (a maker that asks
    models chooses among them by a bandit of its own); novelty is judged on syntax trees, not embeddings, and
    against all that was let through, not one island; a program with other constants is no child that makes its
    parent less likely; stagnation counts proposals of every outcome and brings an island with the seeds and a
    random program of the archive's in the place of the weakest one.

    Args:
        seeds: by name.
        makers: of programs; weights say in what proportion the bandit tries them while none has gained.
        islands: how many; None for one for every hundred evaluations, and no more than two.
        alike: similarity, see :mod:`..shapes`, from which a program is not novel.
        patience: proposals without a new best after which an island starts anew.
    """

    def __init__(
        self,
        seeds: Mapping[str, str],
        makers: Makers,
        *,
        islands: int | None = None,
        alike: float = 0.99,
        patience: int = 100,
    ) -> None:
        self._first: tuple[Proposer, ...] = (Seeds(seeds), Probes(), Bare(seeds))
        self._last = FromScratch(last=True)
        self._makers = {str(index): maker for index, (_, maker) in enumerate(makers)}
        self._arms = Bandit(list(self._makers), [weight for weight, _ in makers], cost_weight=0.0)
        self._novelty = Novelty(alike)
        self._stagnation = Stagnation(patience)
        self._born = 0
        self.islands: dict[str, _Island] = {}
        self._wanted = islands
        self._tried: dict[int, str] = {}  # arm by step
        self._scores: dict[str, float] = {}
        self._given = math.inf  # best score of a seed
        self._seeds: list[Record] = []
        self._failed: deque[Record] = deque(maxlen=10)
        self._stale = False

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return a draft of the most promising maker that has one."""
        before = self.islands, self._born
        self.islands = dict(self.islands)
        made = self._drafted(context, rng)
        if made is None:
            self.islands, self._born = before
        else:
            self._stale = False
        return made

    def _drafted(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        if not self.islands:
            for _ in range(self._wanted or max(1, min(2, context.evaluations_left // 100))):
                self._new_island()
        if self._stale:
            self._start_anew(context.archive, rng)
        place = rng.choice(list(self.islands))
        choice = self._choice(place, rng)
        for proposer in self._first:
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        for arm in self._arms.ranked(rng):
            made = self._makers[arm].propose(choice, context, rng)
            if made is not None:
                self._tried[context.step] = arm
                self._arms.submitted(arm)
                return made
        return self._last.propose(choice, context, rng)

    def _choice(self, place: str, rng: random.Random) -> Choice:
        island = self.islands[place]
        parent = island.parent(rng)
        if parent is None:
            broken = rng.choice(self._failed) if self._failed else None
            return Choice(broken, place=place, note="fix" if broken else "")
        others = (rng.choice(island.archive.members), island.archive.members[0])
        shown = {each.program: each for each in others if each is not parent}
        return Choice(parent, tuple(shown.values()), island.archive.members, place=place)

    def learn(self, record: Record) -> None:
        """Take a program into its island, and reward who made it: every proposal counts."""
        for proposer in (*self._first, *self._makers.values(), self._last):
            proposer.learn(record)
        arm = self._tried.pop(record.step, None)
        if arm is not None and record.outcome is not Outcome.EVALUATOR_ERROR:
            self._arms.told(arm, self._gain(record))
        for place, island in self.islands.items():
            if record.place in ("", place):
                island.add(record)
        if record.outcome is Outcome.OK:
            self._scores[record.program] = record.score
            if record.operator.startswith("seed:"):
                self._seeds.append(record)
                self._given = min(self._given, record.score)
        elif record.nodes:
            self._failed.append(record)
        self._stale |= self._stagnation.heard(record)

    def words(self) -> str:
        """Return how many islands there are, and how long nothing better has come."""
        patience = f"{self._stagnation.waited} of {self._stagnation.patience}"
        return f"{len(self.islands)} islands, {patience} proposals without a better one"

    def _gain(self, record: Record) -> float:
        """Return by which fraction a program beats both its parent and the best seed; 0 when it does not."""
        if record.outcome is not Outcome.OK or not record.parents:
            return 0.0
        known = min(self._given, self._scores.get(record.parents[0], math.inf))
        if not math.isfinite(known):
            return 0.0
        return max(known - record.score, 0.0) / (abs(known) or 1.0)

    def refuses(self, draft: Draft, admitted: Sequence[Proposal]) -> str:
        """Refuse a program that is too like an earlier one."""
        if draft.operator.startswith(_EXEMPT):
            return ""
        found = self._novelty.nearest(draft.source, admitted)
        return f"like the program of step {found[0].step}: {found[1]:.3f}" if found else ""

    def _new_island(self) -> _Island:
        island = self.islands[str(self._born)] = _Island()
        self._born += 1
        return island

    def _start_anew(self, archive: Archive, rng: random.Random) -> None:
        weakest = max(self.islands, key=lambda place: (self.islands[place].best, place))
        del self.islands[weakest]
        island = self._new_island()
        for record in [*self._seeds, *([rng.choice(archive.members)] if archive.members else [])]:
            island.add(record)


class _Island:
    """Programs that breed among themselves, with the number of their children."""

    def __init__(self) -> None:
        self.archive = Archive(40)
        self._children: Counter[str] = Counter()

    @property
    def best(self) -> float:
        best = self.archive.best
        return best.score if best is not None else math.inf

    def add(self, record: Record) -> None:
        """Take a record; one without a score only counts as a child, one of other numbers is none."""
        if record.operator != "constants":
            self._children.update(record.parents[:1])
        self.archive.add(record)

    def parent(self, rng: random.Random) -> Record | None:
        """Return a program, likely one that is good and has few children."""
        members = self.archive.members
        if not members:
            return None
        scores = [member.score for member in members]
        children = [self._children[member.program] for member in members]
        return rng.choices(members, weights(scores, children))[0]


def weights(
    scores: Sequence[float], children: Sequence[int], sharpness: float = 10.0
) -> list[float]:
    """Return how likely parents are to be chosen, up to a factor.

    The logistic function of how many median absolute deviations a score is better than the median, over
    one plus the number of children.
    """
    middle = median(scores)
    spread = max(median(abs(score - middle) for score in scores), 1e-6 * max(abs(middle), 1e-6))
    return [
        _logistic(sharpness * (middle - score) / spread) / (1 + born)
        for score, born in zip(scores, children, strict=True)
    ]


def _logistic(value: float) -> float:
    # exp of a large number would not be a number any more
    return 1.0 / (1.0 + math.exp(-max(min(value, 500.0), -500.0)))
