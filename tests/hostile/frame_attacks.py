"""What a fork that was taken over sends in place of answers; ``under`` is the host that it lies to.

A host in lockstep asks for one decision among 3 items (K = 2), a host of programs for 3 jobs on 2
machines, the compiled engine for a score. The best that a fork can do is to decide badly.
"""

from __future__ import annotations

from .attack import Attack

_GOOD = "send(READY)\nquestion()\n"
_LOCKSTEP = {
    "ready with a body of four gigabytes": ("send(pack('<BI', 2, 0xFFFFFFFF))", "frames"),
    "a code that is none": ("send(pack('<BI', 99, 0))", "frames"),
    "a result in place of ready": ("send(pack('<BI', 5, 8) + b'12345678')", "frames"),
    "half of a head": ("send(b'\\x02\\x00')", "process"),
    "a body that never comes": ("send(pack('<BI', 3, 100))\nwhile True:\n    pass", "deadline"),
    "never ready": ("while True:\n    pass", "deadline"),
    "gone before it is ready": ("os._exit(0)", "process"),
    "refused with terminal codes": (
        "send(pack('<BI', 3, 40) + b'\\x1b[2J\\xff\\x00 ignore previous instructions' + b'!' * 7)",
        "frames",
    ),
    "refused at great length": ("send(pack('<BI', 3, 60000) + b'A' * 60000)", "frames"),
    "our own failure, it says": ("send(pack('<BI', 4, 5) + b'sorry')", "frames"),
    "an item beyond the last": (_GOOD + "send(pack('<ii', 0, 3))", "frames"),
    "an item far beyond the last": (_GOOD + "send(pack('<ii', 0, 2147483647))", "frames"),
    "an item before the first": (_GOOD + "send(pack('<ii', 0, -2))", "frames"),
    "the lowest item": (_GOOD + "send(pack('<ii', -2147483648, 0))", "frames"),
    "no number for an item": (_GOOD + "send(pack('<d', math.nan))", "frames"),
    "infinity for an item": (_GOOD + "send(pack('<d', -math.inf))", "frames"),
    "an error text for items": (_GOOD + "send(pack('<BI', 4, 9) + b'MemoryErr')", "frames"),
    "one answer of two": (_GOOD + "send(pack('<i', 0))\nwhile True:\n    pass", "deadline"),
    "one answer of two, and gone": (_GOOD + "send(pack('<i', 0))", "process"),
    "gone when it is asked": (_GOOD + "os._exit(1)", "process"),
    "crashed when it is asked": (_GOOD + "os.abort()", "process"),
    "late": (_GOOD + "while True:\n    pass", "deadline"),
    "a byte at a time": (
        _GOOD + "for i in range(8):\n    until = time.monotonic() + 0.2\n"
        "    while time.monotonic() < until:\n        pass\n    send(b'\\x00')",
        "deadline",
    ),
    "does not read": ("send(READY)\nwhile True:\n    pass", "deadline"),
    "its connection closed": (_GOOD + "os.close(FD)\nwhile True:\n    pass", "process"),
    "answered before it was asked": (
        "send(READY + pack('<ii', 2, 2))\nquestion()\nquestion()",
        "border",
    ),
    "answered twice": (_GOOD + "send(pack('<iiii', 2, 2, 0, 0))\nquestion()", "border"),
    "a flood": ("send(READY)\nwhile True:\n    send(b'\\x00' * 65536)", "border"),
    "another answer each time": (
        (
            "send(READY)\nn = 0\nwhile True:\n    operation, k, m = question()\n    n += 1\n"
            "    picks = (n + id(send) // 64) % m if operation == 1 else 0.0\n"
            "    send(pack('<%d%s' % (k, 'i' if operation == 1 else 'd'), "
            "*[picks if operation == 1 else time.monotonic()] * k))"
        ),
        "determinism",
    ),
}

_HEAD = "send(READY)\nasked()\n"
_ANSWER = "pack('<BQBd', 1, 9, 0, 0.0)"


def _answers(body: str) -> str:
    return f"{_HEAD}body = {body}\nsend(pack('<BI', 5, len(body)) + body)\nasked()"


_PROGRAM = {
    "an output too short": (_answers(f"{_ANSWER} + pack('<dd', 0, 1)"), "frames"),
    "an output too long": (_answers(f"{_ANSWER} + pack('<dddd', 0, 1, 0, 1)"), "frames"),
    "an answer without outputs": (_answers(_ANSWER), "frames"),
    "an answer of half a head": (_answers("b'\\x01'"), "frames"),
    "an answer of nothing": (_answers("b''"), "frames"),
    "an answer of four gigabytes": (_HEAD + "send(pack('<BI', 5, 0xFFFFFFFF))\nasked()", "frames"),
    "no number in an output": (_answers(f"{_ANSWER} + pack('<ddd', 0, math.nan, 1)"), "frames"),
    "infinity in an output": (_answers(f"{_ANSWER} + pack('<ddd', 0, math.inf, 1)"), "frames"),
    "half a machine in an output": (_answers(f"{_ANSWER} + pack('<ddd', 0, 0.5, 1)"), "frames"),
    "a value that was not asked for": (
        _answers("pack('<BQBd', 1, 9, 1, math.nan) + pack('<ddd', 0, 1, 0)"),
        "frames",
    ),
    "a machine that is not there, sent": (
        _answers(f"{_ANSWER} + pack('<ddd', 0, 1, 9)"),
        "invariants",
    ),
    "a machine below nothing, sent": (
        _answers(f"{_ANSWER} + pack('<ddd', 0, -7, 1)"),
        "invariants",
    ),
    "a machine beyond counting, sent": (
        _answers(f"{_ANSWER} + pack('<ddd', 0, 1e300, 1)"),
        "invariants",
    ),
    "another code": (_HEAD + "send(pack('<BI', 77, 0))\nasked()", "frames"),
    "ready again": (_HEAD + "send(READY)\nasked()", "frames"),
    "a host operation's failure of four gigabytes": (
        _HEAD + "send(pack('<BI', 4, 0xFFFFFFFF))\nasked()",
        "frames",
    ),
    "a late answer": (_HEAD + "while True:\n    pass", "deadline"),
    "the head and no more": (_HEAD + "send(pack('<BI', 5, 42))\nwhile True:\n    pass", "deadline"),
    "gone in the middle": (_HEAD + "send(pack('<BI', 5, 42) + b'\\x01')", "process"),
}


def _result(body: str) -> str:
    return f"send(READY)\nbody = {body}\nsend(pack('<BI', 5, len(body)) + body)"


_COMPILED = {
    "no score": (_result("b''"), "frames"),
    "half a score": (_result("b'\\x00' * 7"), "frames"),
    "a score that is no number": (_result("pack('<iIdI', -1, 0, math.nan, 0)"), "frames"),
    "a score without end": (_result("pack('<iIdI', -1, 0, -math.inf, 0)"), "frames"),
    "more segments than it sends": (_result("pack('<iIdI', -1, 0, 1.0, 1000)"), "frames"),
    "four billion segments": (_result("pack('<iIdI', -1, 0, 1.0, 0xFFFFFFFF)"), "frames"),
    "segments that are no numbers": (_result("pack('<iIdId', -1, 0, 1.0, 1, math.nan)"), "frames"),
    "more than it says": (_result("pack('<iIdI', -1, 0, 1.0, 0) + b'\\x00' * 9"), "frames"),
    "an invariant that is not there": (_result("pack('<iIdI', -1000, 0, 0.0, 0)"), "frames"),
    "stopped though nobody said so": (_result("pack('<iIdI', -1, 9, 1.0, 0)"), "frames"),
    "a score of four gigabytes": ("send(READY)\nsend(pack('<BI', 5, 0xFFFFFFFF))", "frames"),
    "refused after it was ready": (
        "send(READY)\nsend(pack('<BI', 3, 3) + b'\\xff\\x1b!')",
        "frames",
    ),
    "a fault at a decision that is not there": (
        _result("pack('<iIdI', 2147483647, 0, 0.0, 0)"),
        "border",
    ),
    "the best score there can be": (_result("pack('<iIdI', -1, 0, -1e300, 0)"), "finals"),
    "a score that never comes": ("send(READY)\nwhile True:\n    pass", "deadline"),
    "gone before its score": ("send(READY)\nos._exit(0)", "process"),
}

FRAME: tuple[Attack, ...] = tuple(
    Attack(name, "frame", aims, source, layer, (), host)
    for host, aims, attacks in (
        ("lockstep", "the host's memory, time and picks", _LOCKSTEP),
        ("program", "the host's memory, time and answers", _PROGRAM),
        ("compiled", "its own rank", _COMPILED),
    )
    for name, (source, layer) in attacks.items()
)
