"""Sources that the language check refuses; ``also`` says what is left to stop them without it."""

from __future__ import annotations

from .attack import Attack, named

_SCORE = "def score(inflight):\n"


def _returns(expression: str) -> str:
    return f"{_SCORE}    return {expression}\n"


#: Without the check they do something to the machine, and the kernel's layers stop them.
_MACHINE = named(
    "score",
    "files, processes, network",
    "language",
    {
        "open a file": _SCORE + "    open('/etc/passwd')\n    return 0.0\n",
        "write to a file": _SCORE + "    open('/tmp/x', 'w').write('x')\n    return 0.0\n",
        "print a result": _SCORE + "    print('score 1.0', flush=True)\n    return 0.0\n",
        "ask a person": _SCORE + "    return float(input())\n",
        "a shell": "import os\n" + _SCORE + "    os.system('true') and 1 / 0\n    return 0.0\n",
        "dynamic import": _returns("__import__('subprocess').run('true').returncode * 1.0"),
        "import a socket": "import socket\n" + _SCORE + "    socket.socket()\n    return 0.0\n",
        "import from": "from os import listdir\n" + _SCORE + "    return len(listdir('/')) * 1.0\n",
        "import everything": "from os import *\n" + _SCORE + "    return len(listdir('/')) * 1.0\n",
        "leave a thread": (
            "import threading\n"
            + _SCORE
            + "    threading.Thread(target=int).start()\n    return 0.0\n"
        ),
        "with a file": _SCORE + "    with open('/etc/passwd') as f:\n        return 1.0\n",
        "a server that never ends": (
            "import asyncio\n" + _SCORE + "    asyncio.run(asyncio.sleep(9))\n    return 0.0\n"
        ),
    },
    ["kernel"],
)

#: Without the check they never end, or take all memory.
_BURNING = named(
    "score",
    "time, memory",
    "language",
    {
        "work at import": "while True:\n    pass\n" + _SCORE + "    return 0.0\n",
        "call itself for ever": (
            "def score(inflight):\n    while True:\n        try:\n            score(inflight)\n"
            "        except BaseException:\n            0\n"
        ),
        "square a whole number": (
            _SCORE + "    x = 3 ** 9\n    for i in range(60):\n        x *= x\n    return x\n"
            "def huge(inflight, *more):\n    return 0.0\n"
        ),
        "a list that doubles": (
            _SCORE + "    x = [0.0]\n    while x:\n        x.extend(x)\n    return 0.0\n"
        ),
        "a huge list": _returns("len([0] * (1 << 30)) * 1.0"),
        "a huge text": _returns("len('x' * (1 << 31)) * 1.0"),
        "a huge power": _returns("(lambda n: 10 ** n)(10 ** 9)"),
        "a hostile pattern": (
            "import re\n" + _SCORE + "    re.match('(a+)+$', 'a' * 64 + 'b')\n    return 0.0\n"
        ),
        "a walrus in a loop": (
            _SCORE + "    while (x := inflight) == inflight:\n        pass\n    return x\n"
        ),
        "generators without end": (
            "def count():\n    while True:\n        yield 1.0\n" + _returns("sum(count())")
        ),
    },
    ["limits"],
)

#: Without the check they look around in their own process, where there is nothing to see or to change.
_REFLECTION = named(
    "score",
    "the future, the score",
    "language",
    {
        "import a module": "import os\n" + _returns("os.getpid() * 1.0"),
        "two modules at once": "import math, sys\n" + _returns("len(sys.modules) * 1.0"),
        "a module under another name": "import sys as math\n" + _returns("len(math.modules) * 1.0"),
        "climb to object": _returns("len(().__class__.__bases__) * 1.0"),
        "climb from a function of math": "import math\n"
        + _returns("len(math.floor.__self__.__name__)"),
        "an attribute of a number": _returns("inflight.real"),
        "an attribute of an attribute": "import math\n" + _returns("math.pi.real"),
        "getattr with pieces": _returns(
            "len(getattr(inflight, '_' + '_class_' + '_').mro()) * 1.0"
        ),
        "format leak": _returns("len('{0.real}'.format(inflight)) * 1.0"),
        "format by percent": _returns("len('%d' % inflight) * 1.0"),
        "an f-string": _returns("len(f'{inflight.real}') * 1.0"),
        "look at frames": "import sys\n" + _returns("sys._getframe(1).f_locals['best']"),
        "look for the trace": (
            "import sys\n" + _SCORE + "    f = sys._getframe()\n    while f.f_back is not None:\n"
            "        f = f.f_back\n    return f.f_globals['trace'].outcome[0]\n"
        ),
        "generator frame": _returns("(x for x in (1,)).gi_frame.f_lineno * 1.0"),
        "traceback frame": (
            _SCORE + "    try:\n        1 / 0\n    except Exception as e:\n"
            "        return e.__traceback__.tb_frame.f_lineno * 1.0\n    return 0.0\n"
        ),
        "collect objects": (
            "import gc\n"
            + _returns("sum(type(o).__name__ == 'DecisionTrace' for o in gc.get_objects())")
        ),
        "always the best object": (
            "class Best(float):\n    def __lt__(self, other):\n        return True\n"
            + _returns("Best()")
        ),
        "patch a module": "import math\nmath.exp = None\n" + _returns("0.0"),
        "patch a builtin": "import builtins\nbuiltins.min = max\n" + _returns("0.0"),
        "patch the scorer": (
            "import sys\n"
            + _SCORE
            + "    sys.modules['__main__'].score_fn = lambda: 1.0\n    return 0.0\n"
        ),
        "evaluate text": _returns("eval('1.0')"),
        "execute text": _SCORE + "    exec('x = 1.0')\n    return 0.0\n",
        "compile text": _returns("len(compile('1', 'x', 'eval').co_code) * 1.0"),
        "ask for globals": _returns("len(globals()) * 1.0"),
        "use an object's identity": _returns("id(inflight) * 1e-300"),
        "use a hash": _returns("hash('a') * 1e-300"),
        "a set's order": _returns("[*{'a', 'b', 'c'}].index('a') * 1.0"),
        "mutate its input": _SCORE + "    inflight.value = 0\n    return 0.0\n",
        "mutate by index": _SCORE + "    inflight[0] = 0.0\n    return 0.0\n",
        "delete its input": _SCORE + "    del inflight\n    return 0.0\n",
        "ask for what is not there": "def score(inflight, latency_ms):\n    return latency_ms\n",
        "ask for the outcome as a global": _returns("outcome"),
        "exit": _SCORE + "    raise SystemExit\n",
        "leave": "import os\n" + _SCORE + "    os._exit(0)\n",
        "exploit exceptions": (
            _SCORE + "    try:\n        return 1 / inflight\n    except:\n        return 0\n"
        ),
        "assert its way out": _SCORE + "    assert inflight > 1e9\n    return 0.0\n",
    },
    ["border"],
)

#: Without the check they remember or are random: policies that no verdict would speak for.
_STATE = named(
    "score",
    "memory between calls, luck",
    "language",
    {
        "remember between calls": (
            "seen = []\n" + _SCORE + "    seen.append(inflight)\n    return len(seen) * 1.0\n"
        ),
        "count with a global": "n = 0\n"
        + _SCORE
        + "    global n\n    n = n + 1\n    return n * 1.0\n",
        "count with a nonlocal": (
            "def make():\n    n = 0\n    def score(inflight):\n        nonlocal n\n        n += 1\n"
            "        return n * 1.0\n    return score\nscore = make()\n"
        ),
        "default that remembers": (
            "def score(inflight, seen=[]):\n    seen.append(1)\n    return len(seen) * 1.0\n"
        ),
        "an attribute of itself": (
            _SCORE + "    score.n = getattr(score, 'n', 0) + 1\n    return score.n * 1.0\n"
        ),
        "ask the time": "import time\n" + _returns("time.time()"),
        "be random": "import random\n" + _returns("random.random()"),
        "a dictionary that remembers": (
            "seen = {}\n" + _SCORE + "    seen[len(seen)] = 1\n    return len(seen) * 1.0\n"
        ),
    },
    ["determinism"],
)

#: Python that the language has no use for, so that nobody has to think about what it might do.
_CONSTRUCTS = named(
    "score",
    "more of Python than is checked",
    "language",
    {
        "decorate": "@abs\n" + _returns("0.0"),
        "an annotation that runs": "def score(inflight: [].append(1)):\n    return 0.0\n",
        "a result annotation that runs": "def score(inflight) -> abs(1):\n    return 0.0\n",
        "an annotated local that runs": _SCORE + "    x: abs(1) = 1.0\n    return x\n",
        "a lambda": "score = lambda inflight: 0.0\n",
        "a function in a function": _SCORE + "    def f():\n        return 1.0\n    return f()\n",
        "an asynchronous policy": "async def score(inflight):\n    return 0.0\n",
        "a generator policy": _SCORE + "    yield 0.0\n",
        "a class": "class score:\n    x = 1.0\n",
        "positional-only parameters": "def score(inflight, /):\n    return 0.0\n",
        "a default": "def score(inflight, ewma_ms=1.0):\n    return inflight\n",
        "more parameters than are named": "def score(inflight, *more):\n    return inflight\n",
        "keyword-only parameters": "def score(*, inflight):\n    return 0.0\n",
        "star parameters": "def score(*inflight):\n    return 0.0\n",
        "double star parameters": "def score(**inflight):\n    return 0.0\n",
        "a star argument": _returns("max(*(inflight, 1.0))"),
        "a keyword argument": _returns("max((inflight, 1.0), key=abs)"),
        "a default for nothing": _returns("min((), default=0.0)"),
        "a start for a sum": _returns("sum((1.0, 2.0), 3.0)"),
        "a list comprehension": _returns("sum([x for x in range(3)])"),
        "a nested generator": _returns("sum(i for i in range(9) for j in range(9))"),
        "a loop over a list": _SCORE + "    for x in [1.0]:\n        pass\n    return 0.0\n",
        "else after a loop": _SCORE
        + "    while False:\n        pass\n    else:\n        return 1.0\n    return 0.0\n",
        "match": _SCORE
        + "    match inflight:\n        case _:\n            return 0.0\n    return 1.0\n",
        "is": _returns("1.0 if inflight is inflight else 0.0"),
        "in": _returns("1.0 if inflight in (1.0,) else 0.0"),
        "bits": _returns("1 | 2"),
        "shift": _returns("1 << 2"),
        "invert": _returns("~1"),
        "matrix product": _returns("inflight @ inflight"),
        "an index": _returns("(1.0, 2.0)[0]"),
        "a slice": _returns("(1.0, 2.0)[:1][0]"),
        "a complex number": _returns("1j"),
        "an ellipsis": _returns("..."),
        "bytes": _returns("b'1'"),
        "nothing": _returns("None"),
        "a text": _returns("'1.0'"),
        "a text as a statement": _SCORE + "    'x' 'y'\n    x = 'z'\n    return 0.0\n",
        "infinite constant": _returns("1e999"),
        "infinity of math": "import math\n" + _returns("math.inf"),
        "no number of math": "import math\n" + _returns("math.nan"),
        "huge whole number": _returns("9" * 400),
        "a number that no float holds": _returns(str(2**53 + 1)),
        "a factorial": "import math\n" + _returns("math.factorial(20)"),
        "a product": "import math\n" + _returns("math.prod((1.0, 2.0))"),
        "a hypotenuse": "import math\n" + _returns("math.hypot(inflight, 1.0)"),
        "math without import": _returns("math.exp(1.0)"),
        "too many arguments": _returns("abs(inflight, 1.0)"),
        "a name of the other form": _returns("argmin(inflight)"),
    },
    ["border"],
)

#: Names that mean two things at once.
_NAMES = named(
    "score",
    "fool the checker with names",
    "language",
    {
        "a builtin of its own": "def abs(x):\n    return 0.0\n" + _returns("abs(inflight)"),
        "a local builtin": _SCORE + "    sum = 1.0\n    return sum\n",
        "math as a constant": "math = 2.0\n" + _returns("math"),
        "math as a parameter": "import math\ndef score(math):\n    return math\n",
        "a loop over range called range": (
            _SCORE + "    for range in range(3):\n        pass\n    return 0.0\n"
        ),
        "a helper as a local": (
            "def f(x):\n    return x\n" + _SCORE + "    f = 1.0\n    return f\n"
        ),
        "a constant as a local": "C = 1.0\n" + _SCORE + "    C = 2.0\n    return C\n",
        "two entries": _returns("0.0") + _returns("1.0"),
        "an entry that is a constant": "score = 1.0\n",
        "no entry": "def evil(inflight):\n    return 0.0\n",
        "an underscore": _SCORE + "    _x = 1.0\n    return _x\n",
        "the lowering's own names": _SCORE + "    _fuel = 1e9\n    return _fuel\n",
        "a dunder in a comment": "# __import__\n" + _returns("0.0"),
        "a dunder in two pieces": _SCORE + "    a_ = 1.0\n    return a_._class_\n",
        "read before assigned": _SCORE + "    if inflight > 1.0:\n        x = 1.0\n    return x\n",
        "a path without an end": _SCORE + "    if inflight > 1.0:\n        return 1.0\n",
        "two parameters of one name": "def score(inflight, inflight):\n    return 0.0\n",
        "a helper with two parameters of one name": (
            "def f(x, x):\n    return x\n" + _returns("f(inflight, inflight)")
        ),
        "call itself": "def score(inflight):\n    return 0.0 * score(inflight)\n",
        "call each other": (
            "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n" + _returns("f(inflight)")
        ),
        "a helper that is never called": "def f(x):\n    return open(x)\n" + _returns("0.0"),
        "a helper with a keyword": "def f(x):\n    return x\n" + _returns("f(x=inflight)"),
    },
    ["border"],
)

#: Texts that look like something else, or break what reads them.
_TEXTS = named(
    "score",
    "fool the reader or the parser with text",
    "language",
    {
        "a homoglyph": "def score(inflight):\n    \u0456nflight = 0.0\n    return \u0456nflight\n",
        "a name that NFKC changes": "def score(inflight):\n    return \uff4dax(inflight, 0.0)\n",
        "mathematical letters": "import math\n" + _returns("\U0001d426ath.pi"),
        "right to left": "# \u202e neddih\n" + _returns("0.0"),
        "isolated direction": "# \u2066 hidden \u2069\n" + _returns("0.0"),
        "a zero width space": _returns("0.0\u200b"),
        "a zero width joiner in a name": "def score(infli\u200dght):\n    return 0.0\n",
        "a soft hyphen": "# so\u00adft\n" + _returns("0.0"),
        "a no-break space": "def score(inflight):\n\u00a0   return 0.0\n",
        "a line separator": "# a\u2028import os\n" + _returns("0.0"),
        "a next line": "# a\u0085import os\n" + _returns("0.0"),
        "a NUL": _returns("0.0\x00"),
        "a NUL in a comment": "# \x00\n" + _returns("0.0"),
        "a byte order mark": "\ufeff" + _returns("0.0"),
        "carriage returns": "def score(inflight):\r\n    return 0.0\r\n",
        "a lone carriage return": "# safe\rimport os\n" + _returns("0.0"),
        "a form feed": "\f" + _returns("0.0"),
        "a vertical tab": _returns("0.0\v"),
        "a bell": "# \a\n" + _returns("0.0"),
        "terminal codes": "# \x1b[2J\n" + _returns("0.0"),
        "a lone surrogate": "# \ud800\n" + _returns("0.0"),
        "another encoding": "# -*- coding: rot13 -*-\nqrs fpber(vasyvtug):\n    erghea 0.0\n",
        "tabs that mean two things": "def score(inflight):\n\tx = 1.0\n        return x\n",
        "a very long line": _returns(" + ".join(["1.0"] * 4000)),
        "a very long name": "def score(inflight):\n    "
        + "x" * 25_000
        + " = 1.0\n    return 0.0\n",
        "very many lines": "def score(inflight):\n" + "    x = 1.0\n" * 500 + "    return x\n",
        "deep nesting": _returns("-" * 15_000 + "inflight"),
        "deep brackets": _returns("(" * 9_000 + "inflight" + ")" * 9_000),
        "deep blocks": "def score(inflight):\n"
        + "".join("    " * (i + 1) + "if inflight:\n" for i in range(60))
        + "    " * 61
        + "x = 1.0\n    return 0.0\n",
        "deep loops": "def score(inflight):\n"
        + "".join("    " * (i + 1) + f"for i{i} in range(2):\n" for i in range(11))
        + "    " * 12
        + "x = 1.0\n    return 0.0\n",
        "deep calls": "def f0(x):\n    return x\n"
        + "".join(f"def f{i}(x):\n    return f{i - 1}(x)\n" for i in range(1, 60))
        + _returns("f59(inflight)"),
        "calls that double": "def f0(x):\n    return x\n"
        + "".join(f"def f{i}(x):\n    return f{i - 1}(x) + f{i - 1}(x)\n" for i in range(1, 14))
        + _returns("f13(inflight)"),
        "an empty text": "",
        "only a comment": "# nothing\n",
        "no Python": "SELECT score FROM policies;\n",
        "half of a text": "def score(inflight):\n    return (",
        "a number of 5,000 digits": _returns("1" * 5000),
        "a text that does not end": _returns("'''"),
    },
    ["border"],
)

LANGUAGE: tuple[Attack, ...] = (
    *_MACHINE,
    *_BURNING,
    *_REFLECTION,
    *_STATE,
    *_CONSTRUCTS,
    *_NAMES,
    *_TEXTS,
)
