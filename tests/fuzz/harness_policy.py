"""Sources in score form: refused with a line, or the same bits in every tier here, and never an exception."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import canonical, check, same_bits

from . import mutate as _mutate

INPUTS = ("a", "b", "c")
ROWS = [(1.0, 2.0, 3.0), (0.0, -0.0, 1.0), (2.5, 1e300, -7.0), (5e-324, 9007199254740992.0, 0.5)]
_SOURCES = (
    "def score(a, b):\n    return (a + 1) * b\n",
    (
        "import math\nLIMIT = 8.0\ndef over(n, limit):\n    return max(0, n - limit)\n"
        "def score(a, b, c):\n    base = math.log1p(abs(a)) + 0.3 * math.sqrt(abs(b)) / c\n"
        "    if a > LIMIT:\n        base += over(a, LIMIT) ** 2\n    return base\n"
    ),
    "def score(a, b, c):\n    return sum(a * 0.9 ** i for i in range(min(round(b), 16))) + c // 2 % 3\n",
    (
        "def score(a, b, c):\n    t, u = a, b\n    while t < 9 and not u == c or t != t:\n        t += 1\n"
        "        if t > 5:\n            break\n        elif t < 2:\n            continue\n"
        "    for i in range(3, 0, -1):\n        u: float = u + i if i < c <= 2 * i else -u\n    return t + u\n"
    ),
    (
        "import math\ndef score(a):\n    '''Doc.'''\n    x = y = int(a) + math.floor(a) + min((a, 1, 2))\n"
        "    return x + y + math.atan2(x, y) + math.pi + max([x, y]) + round(x) + float(True) + abs(-x)\n"
    ),
)


def TestOneInput(data: bytes) -> None:
    source = data.decode("latin-1")
    try:
        program = check(source, INPUTS)
    except LanguageError as error:
        assert str(error) and "\n" not in str(error), error
        return
    score = program.bind()
    for row in ROWS:
        wanted, found = program.interpret(*row), score(*row)
        assert isinstance(found, float) and not math.isinf(found), found
        assert same_bits(wanted, found), (row, wanted, found)
        assert math.isnan(wanted) == bool(program.fault(*row))
    if len(source) < 19_000:
        assert canonical(source) == canonical(source + "\n# A comment.\n")


def seeds() -> Iterator[bytes]:
    yield from (source.encode() for source in _SOURCES)


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.source(data.decode("latin-1"), random).encode("utf-8", "replace")
