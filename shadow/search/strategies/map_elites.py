"""MAP-Elites with islands."""

from __future__ import annotations

import random
from collections.abc import Mapping

from ..archive import Archive
from ..context import Choice, Context
from ..proposers import Bare, FromScratch, Probes, Proposer, Seeds
from ..records import Brief, Draft, Outcome, Record
from .base import Makers, Mixed, Strategy
from .elites import Elites, Point
from .shapes import Shape, shape

_REFERENCES = 20


class MapElites(Strategy):
    """A grid of elites per island, over size and diversity; the islands take turns.

    Source: OpenEvolve (github.com/algorithmicsuperintelligence/openevolve), after MAP-Elites (Mouret and
    Clune, arXiv 1504.04909). Changed: cells are binned anew when a range grows; size is the number of nodes,
    diversity the mean distance of syntax trees from the first programs with a score; a seed, or what an agent
    or a person told, lives on all islands; every proposal counts towards migration; migrants are the best,
    and the same program is never on an island twice.

    Args:
        seeds: by name.
        makers: of programs, with weights.
        islands: how many; None for one for every hundred evaluations, and no more than five.
        bins: cells along each feature.
        every: proposals per island between two migrations.
        share: of an island's programs that migrate to each of its neighbours on the ring.
    """

    def __init__(
        self,
        seeds: Mapping[str, str],
        makers: Makers,
        *,
        islands: int | None = None,
        bins: int = 10,
        every: int = 50,
        share: float = 0.1,
    ) -> None:
        self.islands: dict[str, Island] = {}
        self._bins = bins
        self._first: tuple[Proposer, ...] = (Seeds(seeds), Probes(), Bare(seeds))
        self._mixed = Mixed(makers)
        self._last = FromScratch(last=True)
        self._diversity = Diversity()
        self._every, self._share = every, share
        self._heard = 0
        if islands is not None:
            self._found(islands)

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return a draft for the island whose turn it is."""
        if not self.islands:
            self._found(max(1, min(5, context.evaluations_left // 100)))
        place = str(context.step % len(self.islands))
        choice = self.islands[place].choice(rng, place)
        for proposer in (*self._first, self._mixed, self._last):
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        return None

    def _found(self, islands: int) -> None:
        self.islands = {str(index): Island(self._bins) for index in range(islands)}

    def learn(self, record: Record) -> None:
        """Take a program into its island; after so many proposals of any outcome, let the best migrate."""
        for proposer in (*self._first, self._mixed, self._last):
            proposer.learn(record)
        if record.outcome is Outcome.OK:
            self._settle(record)
        self._heard += 1
        if self._heard % (self._every * len(self.islands)) == 0:
            self._migrate()

    def words(self) -> str:
        """Return how many islands there are, and their cells with a program."""
        cells = sum(len(island.elites.members) for island in self.islands.values())
        return f"{len(self.islands)} islands, {cells} cells filled"

    def _settle(self, record: Record) -> None:
        point, moved = self._diversity.measured(record)
        for island in self.islands.values() if moved else ():
            island.elites.move(self._diversity.points)
        own = self.islands.get(record.place)
        for island in [own] if own is not None else self.islands.values():
            island.add(record, point)

    def _migrate(self) -> None:
        ring = list(self.islands.values())
        leaving = [island.best(self._share) for island in ring]
        for index, migrants in enumerate(leaving):
            for neighbour in (index - 1, (index + 1) % len(ring)):
                for record in migrants:
                    ring[neighbour].add(record, self._diversity.points[record.program])


class Island:
    """Programs that breed among themselves.

    Args:
        bins: cells along each feature of its grid.
    """

    def __init__(self, bins: int) -> None:
        self.elites = Elites(bins)
        self.archive = Archive(25)

    def add(self, record: Record, point: Point) -> None:
        """Take a program, unless it is here already."""
        if record.program not in self.elites.points:
            self.archive.add(record)
            self.elites.add(record, point)

    def best(self, share: float) -> list[Record]:
        """Return the best programs, a share of all and at least one where there is one."""
        return self.archive.members[: max(1, int(share * len(self.elites.members)))]

    def choice(self, rng: random.Random, place: str) -> Choice:
        """Select a parent and what to show beside it."""
        parent = self._parent(rng)
        if parent is None:
            return Choice(place=place)
        return Choice(parent, self._others(parent, rng), self.archive.members, place=place)

    def _parent(self, rng: random.Random) -> Record | None:
        """Return one of all elites (1 in 5), one of the archive (7 in 10), or by rank of all elites."""
        members = self.archive.members
        if not members:
            return None
        draw = rng.random()
        if draw < 0.2:
            return rng.choice(list(self.elites.cells.values()))
        if draw < 0.9:
            return rng.choice(members)
        return members[min(rng.randrange(len(members)), rng.randrange(len(members)))]

    def _others(self, parent: Record, rng: random.Random) -> tuple[Record, ...]:
        """Return a mate, then the best, the elites of cells around the parent's, and any elites."""
        near = self.elites.near(self.elites.cell(parent.program))
        drawn = rng.sample(near, min(2, len(near)))
        elites = list(self.elites.cells.values())
        drawn += rng.sample(elites, min(2, len(elites)))
        best = self.archive.members[:3]
        mates = [record for record in drawn + best if record is not parent]
        if mates:
            mates.insert(0, rng.choice(mates))
        return tuple({record.program: record for record in mates}.values())


class Diversity:
    """The features of programs: size, and how far a program is from the first ones with a score.

    Attributes:
        points: (nodes, mean distance) by program.
    """

    def __init__(self) -> None:
        self.points: dict[str, Point] = {}
        self._sizes: list[int] = []  # of the references
        self._holders: dict[int, list[int]] = {}  # references by piece
        self._early: dict[str, Record] = {}  # while there are not enough references

    def measured(self, record: Record) -> tuple[Point, bool]:
        """Return a record's features, and whether those of all earlier ones have changed."""
        moved = len(self._sizes) < _REFERENCES
        if moved:
            self._refer_to(shape(record.source))
            self._early[record.program] = record
            self.points |= {name: self._point(each) for name, each in self._early.items()}
        else:
            self.points[record.program] = self._point(record)
        return self.points[record.program], moved

    def _refer_to(self, pieces: Shape) -> None:
        for piece in pieces:
            self._holders.setdefault(piece, []).append(len(self._sizes))
        self._sizes.append(len(pieces))

    def _point(self, record: Record) -> Point:
        pieces = shape(record.source)
        common = [0] * len(self._sizes)
        for piece in pieces:
            for index in self._holders.get(piece, ()):
                common[index] += 1
        alike = (
            shared / (len(pieces) + size - shared) if shared else 0.0
            for shared, size in zip(common, self._sizes, strict=True)
        )
        return float(record.nodes), 1.0 - sum(alike) / len(self._sizes)
