"""Plain Python between marks, as search sees it; what stands outside of them stays as it is, byte for byte."""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Sequence
from functools import lru_cache

from ...sdk.errors import LanguageError
from ..search.authors.blocks import Marked, cut
from ..search.keyless.trees import literal
from ..search.space import SearchSpace
from .folder import Problem
from .operators import OPERATORS, Edits, expression_from, function_from, is_whole, put
from .places import Place, Places
from .spans import Text, tree_of

_TRIES = 16
_KEPT = 64
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
#: Literals that are tuned at most; a table of data is not.
_MOST_CONSTANTS = 48
#: Whole numbers below are written for what they mean: first, next, half.
_SMALL = 3
#: A child may outgrow the initial program by so much, in nodes within the blocks.
_GROWTH, _ALLOWANCE = 2, 100


class BlockDialect:
    """Programs that differ from the initial one between its marks alone.

    Args:
        problem: whose marks and limits they are.
    """

    def __init__(self, problem: Problem) -> None:
        self._frame = problem.marked
        self._places = lru_cache(maxsize=_KEPT)(self._found)
        self._most = max(problem.settings.most_characters, len(problem.program))
        self._limit = _GROWTH * self.nodes(problem.program) + _ALLOWANCE

    def nodes(self, source: str) -> int:
        """Check any source and return the statements and expressions within its blocks.

        Raises:
            LanguageError: it is too long or no Python, or differs from the initial program outside the marks.
        """
        if len(source) > self._most:
            raise LanguageError(f"{len(source):,} characters; a program has at most {self._most:,}")
        text, blocks = Text(source), self._cut(source).spans()
        spans = (
            text.span(node) for node in ast.walk(text.tree) if isinstance(node, ast.expr | ast.stmt)
        )
        return sum(any(a <= start and end <= b for a, b in blocks) for start, end in spans)

    def _cut(self, source: str) -> Marked:
        """Take a source apart; without marks in the initial program all of it is one block."""
        if not self._frame.inside:
            return Marked(("", ""), (source,))
        try:
            found = cut(source)
        except ValueError as error:
            raise LanguageError(str(error)) from error
        if found.fixed != self._frame.fixed:
            raise LanguageError(
                "what stands outside the EVOLVE-BLOCK marks, or a mark, is not that of "
                "initial_program.py; change only what is between them"
            )
        return found

    def key(self, source: str) -> str:
        """Return the tree's text without docstrings; layout and comments are not in it, names are."""
        try:
            return _shape(source)
        except RecursionError as error:
            raise LanguageError(
                "too deep for this interpreter; write shorter expressions"
            ) from error

    def mutated(
        self, source: str, space: SearchSpace, rng: random.Random
    ) -> tuple[str, str] | None:
        """Return a program after one to three changes, or None when nothing took."""
        weights = [weight for weight, _ in OPERATORS.values()]
        for _ in range(_TRIES):
            count = rng.choices((1, 2, 3), (0.7, 0.2, 0.1))[0]
            chosen = rng.choices(list(OPERATORS), weights, k=count)
            child, applied = source, list[str]()
            for operator in chosen:
                made = self._changed(child, OPERATORS[operator][1](self._places(child), rng))
                if made is not None:
                    child = made
                    applied.append(operator)
            if applied and child != source:
                return child, "+".join(applied)
        return None

    def crossed(
        self, mother: str, father: str, space: SearchSpace, rng: random.Random
    ) -> str | None:
        """Return the mother with a block, a function or an expression of the father's."""
        for _ in range(_TRIES):
            way = rng.random()
            if way < 0.25:
                child = self._with_block(mother, father, rng)
            else:
                graft = function_from if way < 0.6 else expression_from
                edits = graft(self._places(mother), self._places(father), rng)
                child = self._changed(mother, edits)
            if child is not None and child not in (mother, father):
                return child
        return None

    def _with_block(self, mother: str, father: str, rng: random.Random) -> str | None:
        ours, theirs = self._cut(mother).inside, self._cut(father).inside
        if len(ours) < 2:
            return None
        chosen = rng.randrange(len(ours))
        blocks = (*ours[:chosen], theirs[chosen], *ours[chosen + 1 :])
        return self._sound(self._cut(mother).joined(blocks))

    def probing(self, source: str, space: SearchSpace, decisions: int) -> str | None:
        """Return None: there are no items that could be avoided."""
        return None

    def bare(self, source: str, space: SearchSpace) -> list[str]:
        """Return nothing: most programs of this form stand and fall with every statement."""
        return []

    def extended(self, source: str, space: SearchSpace) -> str | None:
        """Return None: there are no features to weigh."""
        return None

    def scratch(self, space: SearchSpace, rng: random.Random) -> str | None:
        """Return None: a random text is no program that an evaluator can use."""
        return None

    def constants(self, source: str) -> tuple[float, ...]:
        """Return the numeric literals in the blocks that are tuned, in the order of the text."""
        return tuple(literal(place.node) or 0.0 for place in self._tunable(source))

    def with_constants(self, source: str, values: Sequence[float]) -> str:
        """Return the program with other literals of six significant digits; whole ones stay whole."""
        tunable = self._tunable(source)
        edits = [put(place, value) for place, value in zip(tunable, values, strict=True)]
        return Text(source).edited(edits)

    def skeleton(self, source: str) -> str:
        """Return the program's tree without those literals."""
        return _shape(self.with_constants(source, [1.0] * len(self._tunable(source))))

    def _tunable(self, source: str) -> list[Place]:
        found = [p for p in self._places(source).of("literal") if not _is_small(p)]
        return sorted(found, key=lambda place: place.span)[:_MOST_CONSTANTS]

    def _found(self, source: str) -> Places:
        """Return what may change; nothing of a program that is too deep to be looked at."""
        try:
            return Places(Text(source), self._cut(source).spans())
        except RecursionError:
            return Places(Text(""), ())

    def _changed(self, source: str, edits: Edits | None) -> str | None:
        return self._sound(Text(source).edited(edits)) if edits else None

    def _sound(self, child: str) -> str | None:
        """Return a child that is a program within the limits, or None."""
        try:
            fits = self.nodes(child) <= self._limit
            return child if fits and compiles(child) else None
        except LanguageError:
            return None


def compiles(source: str) -> bool:
    """Return whether a source is Python to the compiler, too: a ``return`` in a function and so on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a number is called, and the like: it will raise
            compile(tree_of(source), "program.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _is_small(place: Place) -> bool:
    value = literal(place.node) or 0.0
    return is_whole(place.node) and (place.around.whole or abs(value) < _SMALL)


def _shape(source: str) -> str:
    """Return the text of a tree without docstrings."""
    tree = tree_of.__wrapped__(source)  # one of its own, for it is changed
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)
