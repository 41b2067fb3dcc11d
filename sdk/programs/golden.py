"""Golden cases of a program as a bundle holds them: what to ask, and digests of what must be answered.

Half of the questions are drawn from the contract's declared ranges, edges included, and most of those are
nonsense to a policy; the others are the kind's own. Whoever opens the bundle draws the same again, so
that the numbers need not travel: a case is its fuel and 48 bits of its answer's digest. All of it runs
under a tenth of the kind's fuel, and ten million at most, because opening a bundle must not take for ever.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import GnomonError
from ..isolation.program import ProgramProcess, program_zygote
from ..isolation.program_wire import pack_answer
from ..isolation.zygote import CandidateStopped
from ..language import Answer, ProgramContract, check_program, golden_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..isolation.layers import IsolationMode
    from ..kind import Kind
    from ..language import ArrayProgram

#: Cases drawn from the declared ranges, and from the kind's own questions; fewer are refused.
DRAWN, ASKED = 16, 32
CASES = DRAWN + ASKED
#: Numbers that a case is: its fuel (NaN for a fault), and its digest.
PER_CASE = 2
_SHARE, _LEAST_FUEL, _MOST_FUEL = 10, 1_000_000, 10_000_000
#: Deadlines of the kind within which all cases have to be answered where a bundle is opened: until then
#: a service hears of no kill.
_OPENING = 2.0
#: But so many seconds at least for all of them, and for each: to start takes longer than the deadline of a kind
#: that answers within milliseconds, and so may a single answer where the machine is busy just then.
_LEAST_OPENING_S, _LEAST_CASE_S = 2.0, 0.05


def golden_numbers(program: ArrayProgram, kind: Kind, seed: int) -> list[float]:
    """Return what a program answers to the golden questions, :data:`PER_CASE` numbers for each.

    Raises:
        LanguageError: the program needs more than a tenth of the kind's fuel without any loop.
    """
    shorter = _shorter(kind)
    assert shorter.program is not None
    decide = check_program(program.source, shorter.program).bind(kind.host)
    return _numbers(decide, shorter, seed)


def golden_mismatch(
    source: str, kind: Kind, seed: int, numbers: Sequence[float], isolation: IsolationMode
) -> str:
    """Return an empty string when a source answers as golden numbers say, else the first difference.

    It is asked in a process of its own, within the kind's limits, and twice its deadline in all; or where that is
    longer, within 50 ms for each case and two seconds in all.
    """
    try:
        found = isolated_numbers(source, kind, seed, isolation)
    except CandidateStopped as stopped:
        return stopped.detail
    except GnomonError as error:
        return f"they cannot be tried: {error}"
    for index in range(CASES):
        at = slice(PER_CASE * index, PER_CASE * (index + 1))
        if not all(map(_same, found[at], numbers[at])):
            return f"case {index}: gives {_words(found[at])}, not {_words(numbers[at])}"
    return ""


def isolated_numbers(source: str, kind: Kind, seed: int, isolation: IsolationMode) -> list[float]:
    """Return the same as :func:`golden_numbers`, of a source that is asked in a locked process of its own.

    Raises:
        CandidateStopped: it died, or its time in all was over; names the case.
        IsolationError: the isolation cannot be had.
    """
    seconds = max(_OPENING * kind.deadline_s, _LEAST_OPENING_S)
    shorter = replace(_shorter(kind), deadline_s=max(kind.deadline_s, _LEAST_CASE_S))
    asked = 0

    def counted(*arguments: Any) -> Answer:
        nonlocal asked
        asked += 1
        return process.ask(arguments)

    try:
        with (
            program_zygote(shorter, isolation, total_s=seconds) as zygote,
            ProgramProcess(zygote, source, shorter) as process,
        ):
            return _numbers(counted, shorter, seed)
    except CandidateStopped as stopped:
        detail = f"case {max(asked - 1, 0)}: {stopped.detail}"
        raise CandidateStopped(stopped.status, detail) from stopped


def _shorter(kind: Kind) -> Kind:
    assert kind.program is not None, "a kind of program form"
    fuel = kind.program.max_fuel
    less = max(min(fuel // _SHARE, _MOST_FUEL), min(fuel, _LEAST_FUEL))
    return replace(kind, program=replace(kind.program, max_fuel=less))


def _numbers(decide: Callable[..., Answer], kind: Kind, seed: int) -> list[float]:
    assert kind.program is not None
    assert kind.questions is not None
    numbers: list[float] = []
    for index in range(CASES):
        arguments: Sequence[Any]
        if index < DRAWN:
            arguments = golden_arguments(kind.program, seed, index)
        else:
            arguments = kind.questions(random.Random(f"golden question {seed} {index}"))
        numbers += _case(kind.program, decide(*arguments))
    return numbers


def _case(contract: ProgramContract, answer: Answer) -> tuple[float, float]:
    digest = hashlib.sha256(pack_answer(contract, answer)).digest()
    fuel = float(answer.fuel) if answer.ok else math.nan
    return fuel, float(int.from_bytes(digest[:6], "big"))


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def _words(case: Sequence[float]) -> str:
    fuel, digest = case
    return "a fault" if math.isnan(fuel) else f"answer {int(digest):012x} for {fuel:.0f} fuel"
