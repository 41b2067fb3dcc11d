"""The operations on arrays: what they take and give. The one table behind checker, tiers and tests.

In a pattern ``s`` is a number, ``v`` a vector, ``m`` a matrix, ``a`` an array (the same rank wherever
it occurs in the pattern) and ``e`` such an array or a number; what comes back stands after ``>``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ._names import BUILTINS, MATH, RESERVED

#: Names of ranks 0, 1 and 2, as messages say them.
RANKS = ("number", "vector", "matrix")

_PATTERNS: dict[str, tuple[str, ...]] = {
    "all": ("a>s",),
    "any": ("a>s",),
    "arange": ("s>v",),
    "argmax": ("v>s",),
    "argmin": ("v>s",),
    "argsort": ("v>v",),
    "bincount": ("vs>v", "vvs>v"),
    "clip": ("aee>a",),
    "column": ("ms>v",),
    "column_sums": ("m>v",),
    "concat": ("vv>v",),
    "copy": ("a>a",),
    "cumsum": ("v>v",),
    "dot": ("vv>s", "mv>v"),
    "flatten": ("m>v",),
    "full": ("ss>v", "sss>m"),
    "len": ("a>s",),
    "max": ("a>s",),
    "maximum": ("ea>a", "ae>a"),
    "mean": ("a>s",),
    "min": ("a>s",),
    "minimum": ("ea>a", "ae>a"),
    "nonzero": ("v>v",),
    "ones": ("s>v", "ss>m"),
    "repeat": ("vv>v",),
    "reshape": ("vss>m",),
    "reverse": ("v>v",),
    "row_sums": ("m>v",),
    "shape0": ("a>s",),
    "shape1": ("m>s",),
    "sort": ("v>v",),
    "sum": ("a>s",),
    "take": ("vv>v", "mv>m"),
    "transpose": ("m>m",),
    "where": ("aee>a",),
    "zeros": ("s>v", "ss>m"),
}

#: Fuel of every operation, however small its arrays are.
OPERATION_FUEL = 10

#: Functions of one number that work on every element of an array as well.
EACH = frozenset({"abs", "int", "round"} | {name for name, arity in MATH.items() if arity == 1})


def _expanded(pattern: str) -> dict[tuple[int, ...], int]:
    left, result = pattern.split(">")
    found: dict[tuple[int, ...], int] = {}
    for rank in (1, 2):
        options = {"s": (0,), "v": (1,), "m": (2,), "a": (rank,), "e": (0, rank)}
        for ranks in itertools.product(*(options[letter] for letter in left)):
            found[ranks] = options[result][0]
    return found


#: By operation: from the ranks of the arguments to the rank of the result.
OPERATIONS: dict[str, dict[tuple[int, ...], int]] = {
    name: {ranks: result for pattern in patterns for ranks, result in _expanded(pattern).items()}
    for name, patterns in _PATTERNS.items()
}

#: Names that a policy in program form may not bind.
ARRAY_RESERVED = RESERVED | OPERATIONS.keys()


def arities(name: str) -> frozenset[int]:
    """Return how many arguments an operation may take."""
    return frozenset(map(len, OPERATIONS[name]))


def result_rank(name: str, ranks: Sequence[int]) -> int | None:
    """Return the rank of what an operation gives, or None where it does not take these."""
    if name in EACH and len(ranks) == 1 and ranks[0]:
        return ranks[0]
    if name in BUILTINS and not any(ranks):
        return 0
    return OPERATIONS.get(name, {}).get(tuple(ranks))


def described(name: str) -> str:
    """Return in words what an operation takes, for a refusal."""
    if name not in OPERATIONS:
        return f"{name} takes a number or an array" if name in EACH else f"{name} takes numbers"
    forms = sorted({", ".join(RANKS[rank] for rank in ranks) for ranks in OPERATIONS[name]})
    return f"{name} takes {' or '.join(f'({form})' for form in forms[:4])}"
