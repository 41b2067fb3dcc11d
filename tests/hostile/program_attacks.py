"""Attacks in program form, on the tests' kind ``jobs``: ``decide(work, machines, machine)`` writes ``machine``.

The kind has 200 jobs at most, a million elements, 64 MB and 3 s.
"""

from __future__ import annotations

from .attack import Attack, named

_DECIDE = "def decide(work, machines, machine):\n"


def _does(*lines: str) -> str:
    return _DECIDE + "".join(f"    {line}\n" for line in lines)


#: Refused before they run.
_LANGUAGE = named(
    "program",
    "memory that is not its own, more than arrays",
    "language",
    {
        "write into an input": _does("work[0] = 9.0"),
        "write into an input through a helper": (
            "def spoil(a):\n    a[0] = 9.0\n" + _does("spoil(work)", "machine[:] = 0.0")
        ),
        "write into an input by adding": _does("work += 1.0"),
        "two names of one array": _does("other = machine", "other[0] = 1.0"),
        "two names through a helper": (
            "def same(a):\n    return a\n" + _does("b = same(machine)", "b[0] = 1.0")
        ),
        "an array that was given, made another": _does("machine = zeros(3)"),
        "a number that becomes an array": _does("x = 1.0", "x = zeros(3)", "machine[0] = 0.0"),
        "a negative index in the text": _does("machine[-1] = 0.0"),
        "a step": _does("machine[::2] = 0.0"),
        "a part written whole": _does("machine[1:] = 0.0"),
        "a third index": _does("machine[0, 0, 0] = 0.0"),
        "an index of an index": _does("machine[0][0] = 0.0"),
        "a method of an array": _does("machine.fill(0.0)"),
        "an array's address": _does("x = machine.ctypes.data", "machine[0] = x"),
        "an array's type": _does("x = machine.astype(work)", "machine[0] = 0.0"),
        "numpy itself": "import numpy\n" + _does("machine[0] = numpy.zeros(1)[0]"),
        "an operation that is not there": _does("machine[0] = tofile(work)"),
        "a host operation that is not there": _does("machine[0] = makespan(work)"),
        "an operation's name as a local": _does("mean = 1.0", "machine[0] = mean - 1.0"),
        "an operation's name as a parameter": "def decide(work, sort, machine):\n    machine[0] = 0.0\n",
        "an operation of its own": (
            "def argmin(a):\n    return 0.0\n" + _does("machine[0] = argmin(work)")
        ),
        "a parameter that is not there": "def decide(outcome, machine):\n    machine[0] = 0.0\n",
        "return an array that was given": (
            "def pass_on(a):\n    return a\n" + _does("machine[:] = pass_on(work)")
        ),
        "return what is not asked for": _does("return 1.0"),
        "a vector as a condition": _does("if work > 1.0:", "    machine[0] = 0.0"),
        "a vector and a matrix": _does("x = zeros(2, 2) + work", "machine[0] = 0.0"),
        "recursion over an array": ("def f(a):\n    f(a)\n" + _does("f(machine)")),
        "a value that nobody uses": _does("argmin(work)"),
        "an expression with an effect": (
            "def f(a):\n    a[0] = 1.0\n    return 0.0\n"
            + _does("x = f(machine) + 1.0", "machine[0] = x")
        ),
        "too large a program": _DECIDE + "    machine[0] = 0.0\n" * 600,
        "a list of its own": _does("x = [0.0] * 9", "machine[0] = x[0]"),
        "a comprehension of arrays": _does("x = [zeros(9) for i in range(9)]", "machine[0] = 0.0"),
    },
)

#: Every read and write, every shape and every whole number is tested while it runs.
_ARITHMETIC = named(
    "program",
    "memory that is not its own, numbers that are none",
    "arithmetic",
    {
        "read beyond the end": _does("machine[0] = work[len(work)]"),
        "read before the beginning": _does("i = machines - machines - 1.0", "machine[0] = work[i]"),
        "read far beyond": _does("machine[0] = work[1e15]"),
        "read between two": _does("machine[0] = work[0.5]"),
        "write beyond the end": _does("machine[len(machine)] = 0.0"),
        "write before the beginning": _does("i = machines * 0.0 - 1.0", "machine[i] = 0.0"),
        "a slice beyond the end": _does("x = work[0:len(work) + 1]", "machine[0] = 0.0"),
        "a slice backwards": _does("x = work[1:0]", "machine[0] = x[0]"),
        "take what is not there": _does("x = take(work, full(2, 1e6))", "machine[0] = 0.0"),
        "count into bins that are not there": (
            _does("x = bincount(full(3, 99.0), 2)", "machine[0] = 0.0")
        ),
        "a length below nothing": _does("x = zeros(machines * 0.0 - 5.0)", "machine[0] = 0.0"),
        "a length that is no whole number": _does("x = zeros(machines + 0.5)", "machine[0] = 0.0"),
        "reshape into more": _does("x = reshape(work, 1000, 1000)", "machine[0] = 0.0"),
        "shapes that differ": _does("x = work + zeros(len(work) + 1)", "machine[0] = 0.0"),
        "write a longer array": _does("machine[:] = zeros(len(machine) + 1)"),
        "no number": _does("x = work[0] - work[0]", "machine[0] = x / x"),
        "no number in an array": _does("machine[:] = work / (work - work)"),
        "overflow in an array": _does("machine[:] = (work + 2.0) ** 1e6"),
        "infinity by summing": _does("x = full(9, 1.7e308)", "machine[0] = sum(x)"),
        "infinity by adding up": _does("x = cumsum(full(9, 1.7e308))", "machine[0] = x[0] - x[0]"),
        "half a machine": _does("machine[:] = 0.5"),
        "a machine beyond 2**53": _does("machine[:] = 1e17"),
        "the mean of nothing": _does("machine[0] = mean(nonzero(work - work))"),
        "repeat less than nothing": _does("x = repeat(work, work * 0.0 - 1.0)", "machine[0] = 0.0"),
    },
)

_FUEL = named(
    "program",
    "time, memory",
    "fuel",
    {
        "loop for ever in a program": _does("while True:", "    machine[0] = 0.0"),
        "huge loops": _does(
            "for i in range(1000000):", "    for j in range(1000000):", "        machine[0] = 0.0"
        ),
        "copies in a loop": _does(
            "for i in range(1000000):", "    x = copy(work)", "machine[0] = 0.0"
        ),
        "sorting in a loop": _does(
            "x = arange(100000)", "for i in range(1000):", "    x = sort(x)", "machine[0] = 0.0"
        ),
        "an array of a billion": _does("x = zeros(1e9)", "machine[0] = 0.0"),
        "a matrix of a billion": _does("x = zeros(40000, 40000)", "machine[0] = 0.0"),
        "an array that doubles": _does(
            "x = work", "while True:", "    x = concat(x, x)", "machine[0] = 0.0"
        ).replace("x = work", "x = copy(work)"),
        "an array that repeats itself": _does(
            "x = repeat(work, full(len(work), 1e8))", "machine[0] = 0.0"
        ),
        "rows without columns": _does(
            "for i in range(100000):", "    x = zeros(900000, 0)", "machine[0] = 0.0"
        ),
        "many arrays at once": _DECIDE
        + "".join(f"    a{i} = zeros(400000)\n" for i in range(60))
        + "    machine[0] = 0.0\n",
    },
    ["limits"],
)

_DEADLINE = (
    Attack(
        "a loop that only counts",
        "program",
        "time",
        _does("x = 0.0", "for i in range(150000):", "    x += 1.0", "machine[0] = x - x"),
        "fuel",
    ),
    Attack(
        "slow within its fuel",
        "program",
        "time",
        "import math\ndef decide(machine):\n    x = 0.0\n    for i in range(4000):\n"
        "        for j in range(30000):\n            x = math.sin(x) + 1.0\n    machine[0] = x - x\n",
        "deadline",
        ("fuel",),
        "much fuel",
    ),
    Attack(
        "large within its elements",
        "program",
        "memory",
        "def decide(machine):\n    a = zeros(20000000)\n    b = zeros(20000000)\n    machine[0] = 0.0\n",
        "rlimits",
        ("fuel",),
        "many elements",
    ),
)

_UNLAWFUL = named(
    "program",
    "damage",
    "invariants",
    {
        "a machine that is not there": _does("machine[:] = machines"),
        "a machine below nothing": _does("machine[:] = -1.0"),
        "only sometimes a machine that is not there": _does(
            "machine[:] = machines if len(work) > 20 else 0.0"
        ),
        "the last job nowhere": _does("machine[:] = 0.0", "machine[len(machine) - 1] = 7.0"),
    },
    ["guard"],
)

PROGRAM: tuple[Attack, ...] = (*_LANGUAGE, *_ARITHMETIC, *_FUEL, *_DEADLINE, *_UNLAWFUL)
