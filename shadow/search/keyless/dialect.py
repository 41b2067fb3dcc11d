"""What a search needs of the form of its programs: checking, telling apart, changing and tuning them."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ....sdk.language import examine

if TYPE_CHECKING:
    from ....sdk.kind import Kind
    from ..space import Space

_DEPTH = 4


class Dialect(Protocol):
    """The form of a search's programs; every source passed the language check, unless it says otherwise.

    ``space`` is always the one whose dialect it is.
    """

    def nodes(self, source: str) -> int:
        """Check any source and return its size; raises LanguageError outside the policy language."""
        ...

    def key(self, source: str) -> str:
        """Return a text that two sources share only when they are one policy."""
        ...

    def mutated(self, source: str, space: Any, rng: random.Random) -> tuple[str, str] | None:
        """Return a changed program and how it was changed, or None when nothing took."""
        ...

    def crossed(self, mother: str, father: str, space: Any, rng: random.Random) -> str | None:
        """Return a program made of two, or None when they have nothing to exchange."""
        ...

    def probing(self, source: str, space: Any, decisions: int) -> str | None:
        """Return a program that tries what was not picked for long, or None where that means nothing."""
        ...

    def bare(self, source: str, space: Any) -> list[str]:
        """Return the programs that are left where one statement is taken out that it can do without."""
        ...

    def extended(self, source: str, space: Any) -> str | None:
        """Return a program that decides alike and has more to tune, or None where there is no such thing."""
        ...

    def scratch(self, space: Any, rng: random.Random) -> str | None:
        """Return a random program, or None where there is no making one."""
        ...

    def constants(self, source: str) -> tuple[float, ...]:
        """Return the literals that may be tuned, in the order of the tree."""
        ...

    def with_constants(self, source: str, values: Sequence[float]) -> str:
        """Return a program with other literals."""
        ...

    def skeleton(self, source: str) -> str:
        """Return what a program is without those literals."""
        ...


class ScoreDialect:
    """Score form.

    Args:
        kind: whose inputs a score reads.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        # size and text of one program are asked for one after the other
        self._examined = functools.lru_cache(64)(self._examine)

    def nodes(self, source: str) -> int:
        """Check any source and return its size; raises LanguageError."""
        return self._examined(source)[0]

    def key(self, source: str) -> str:
        """Return its canonical text."""
        return self._examined(source)[1]

    def _examine(self, source: str) -> tuple[int, str]:
        kind = self._kind
        return examine(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel)

    def mutated(self, source: str, space: Space, rng: random.Random) -> tuple[str, str] | None:
        """Return a typed mutation."""
        from . import mutation

        return mutation.mutated(source, space, rng)

    def crossed(self, mother: str, father: str, space: Space, rng: random.Random) -> str | None:
        """Return a typed crossover."""
        from . import mutation

        return mutation.crossed(mother, father, space, rng)

    def probing(self, source: str, space: Space, decisions: int) -> str | None:
        """Return the score with a probe."""
        from . import mutation

        return mutation.probing(source, space, decisions)

    def bare(self, source: str, space: Space) -> list[str]:
        """Return the score without one of its conditions, loops and updates."""
        from . import mutation

        return mutation.bare(source, space)

    def extended(self, source: str, space: Space) -> str | None:
        """Return the score with a weight of 0 on every feature's logarithm."""
        from . import mutation

        return mutation.extended(source, space)

    def scratch(self, space: Space, rng: random.Random) -> str | None:
        """Return a random expression."""
        from .grammar import expression
        from .simplify import simplified
        from .trees import render, wrapped

        root = expression(space, rng, rng.randint(1, _DEPTH))
        return render(simplified(wrapped(root)), self._kind.input_names)

    def constants(self, source: str) -> tuple[float, ...]:
        """Return all literals."""
        from . import tuning

        return tuning.constants(source)

    def with_constants(self, source: str, values: Sequence[float]) -> str:
        """Return the score with other literals."""
        from . import tuning

        return tuning.with_constants(source, values, self._kind.input_names)

    def skeleton(self, source: str) -> str:
        """Return the tree without literals."""
        from . import tuning

        return tuning.skeleton(source)
