"""Sources in program form: refused with a line, or the same answer and fuel in both tiers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import Parameter, ProgramContract, check_program, same_answer

from . import mutate as _mutate

CONTRACT = ProgramContract(
    parameters=(
        Parameter("v", "1", "A vector.", -9, 9, ("rows",)),
        Parameter("k", "1", "A whole number.", 0, 6, integer=True),
        Parameter("m", "1", "A matrix.", -9, 9, ("rows", "columns")),
        Parameter("out", "1", "An output.", -9, 9, ("columns",), writable=True),
        Parameter("put", "1", "Whole numbers to write.", 0, 9, ("rows", "columns"), True, True),
    ),
    dimensions={"rows": (1, 8), "columns": (1, 6)},
    returns=True,
    max_nodes=400,
    max_fuel=20_000,
    max_elements=400,
)
CALLS = (
    ([1.0, 2.0, 0.0], 2, [[1.0, 2.0], [0.5, 0.0], [3.0, -1.0]], [0.0, 1.0], [[0, 1]] * 3),
    ([5.0], 0, [[1e300]], [-0.0], [[7]]),
)
_HEAD = "import math\ndef decide(v, k, m, out, put):\n"
_SOURCES = (
    _HEAD
    + "    order = argsort(-v)\n    for i in range(len(order)):\n        put[order[i], 0] = i\n"
    "    out[:] = column_sums(m) / len(v)\n    return max(v) + sum(row_sums(m))\n",
    _HEAD + "    w = concat(v, zeros(k))\n    w[0] += dot(v, column(m, 0))\n    t = transpose(m)\n"
    "    u = where(w > 1, clip(w, 0, 2), cumsum(w))\n    put[0] = copy(put[0]) * 2\n"
    "    out[:] = take(u, nonzero(out * 0 + 1))\n    return mean(t) + argmin(w) + any(w) + shape1(t)\n",
    (
        "def mark(p, q):\n    for i in range(len(p)):\n        if p[i] == q:\n            return\n"
        "        p[i] = q\ndef decide(v, k, out):\n    mark(out, k)\n    t = reverse(sort(v))\n    s = t[0:1]\n"
        "    r = reshape(repeat(s, ones(len(s))), 1, 1)\n    while k < 9:\n        k += 1\n"
        "    last = minimum(flatten(r), 3)\n    return last[0] + sum(bincount(arange(2), 3)) + k\n"
    ),
)


def TestOneInput(data: bytes) -> None:
    try:
        program = check_program(data.decode("latin-1"), CONTRACT)
    except LanguageError as error:
        assert str(error) and "\n" not in str(error), error
        return
    decide = program.bind()
    for call in CALLS:
        wanted, found = program.interpret(*call), decide(*call)
        assert same_answer(wanted, found), (call, wanted, found)
        assert wanted.ok is not bool(program.fault(*call))


def seeds() -> Iterator[bytes]:
    yield from (source.encode() for source in _SOURCES)


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.source(data.decode("latin-1"), random).encode("utf-8", "replace")
