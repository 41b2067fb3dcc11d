"""Programs in a process of their own: the same answers as here, and nothing else gets through."""

from __future__ import annotations

import math
import signal
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, IsolationError
from gnomon.sdk.isolation.frames import Code
from gnomon.sdk.isolation.layers import WEAK_LAYERS
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.isolation.program_wire import (
    contract_of,
    contract_words,
    pack_answer,
    pack_terms,
    unpack_answer,
    unpack_terms,
)
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote
from gnomon.sdk.language import (
    Answer,
    Parameter,
    ProgramContract,
    check_program,
    golden_arguments,
    same_answer,
)
from gnomon.sdk.language._arrays import accept

from .jobs import FAULTY, LONGEST, ROUND_ROBIN, SPREAD, jobs, kind_of, measured

MIXED = ProgramContract(
    parameters=(
        Parameter("m", "1", "A matrix.", -5, 5, ("rows", "columns")),
        Parameter("v", "1", "A vector.", -5, 5, ("rows",)),
        Parameter("n", "1", "A number.", -5, 5, integer=True),
        Parameter("out", "1", "A matrix.", 0, 9, ("columns", "rows"), True, True),
        Parameter("row", "1", "A vector.", -1, 1, ("columns",), writable=True),
    ),
    dimensions={"rows": (1, 6), "columns": (1, 5)},
    returns=True,
)
MIXING = """
def decide(m, v, n, out, row):
    for i in range(shape0(out)):
        row[i] = sum(column(m, i)) / 7.0
        for j in range(shape1(out)):
            out[i, j] = abs(round(m[j, i] * v[j])) + n * 0
    return mean(v) / (n + 1)
"""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with program_zygote(jobs) as found:
        yield found


@given(seed=st.integers(0, 999), index=st.integers(0, 40))
def test_what_goes_over_the_wire_comes_back(seed: int, index: int) -> None:
    arguments = golden_arguments(MIXED, seed, index)
    terms = accept(MIXED, arguments)
    assert unpack_terms(MIXED, pack_terms(terms.values())) == list(terms.values())
    answer = check_program(MIXING, MIXED).bind()(*arguments)
    again = unpack_answer(MIXED, terms, pack_answer(MIXED, answer))
    assert same_answer(again, answer)


@pytest.mark.parametrize("contract", [MIXED, measured.program, ProgramContract(())])
def test_a_contract_comes_back_from_its_words(contract: ProgramContract) -> None:
    assert contract_words(contract_of(contract_words(contract))) == contract_words(contract)
    assert contract_of(contract_words(contract)).outputs == contract.outputs


@pytest.mark.parametrize("source", [LONGEST, ROUND_ROBIN, FAULTY])
def test_it_answers_as_the_bound_program_does(source: str, zygote: Zygote) -> None:
    assert jobs.program is not None
    decide = check_program(source, jobs.program).bind()
    with ProgramProcess(zygote, source, jobs) as process:
        for index in range(8):
            arguments = golden_arguments(jobs.program, 0, index)
            expected = decide(*arguments)
            assert same_answer(process.ask(arguments), expected)
            assert same_answer(process.ask(arguments, reference=True), expected)


@pytest.mark.parametrize(
    "arguments", [([1.0], 2), ([1.0], "two", [0]), ([1.0], 2, [0, 0]), ([[1.0]], 2, [0])]
)
def test_what_the_contract_does_not_know_is_not_sent(arguments: Any, zygote: Zygote) -> None:
    with ProgramProcess(zygote, LONGEST, jobs) as process:
        with pytest.raises(ConfigurationError):
            process.ask(arguments)
        assert process.ask(([1.0], 2, [0])).ok
        assert not process.ask(([math.inf], 2, [0])).ok


class Told:
    """Answers in a fork's place with whatever bytes it was given."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.killed = False

    def send(self, data: bytes) -> None:
        """Take a question."""

    def receive(self, count: int, seconds: float | None = None) -> bytes:
        taken, self.said = self.said[:count], self.said[count:]
        return taken

    def kill(self) -> None:
        self.killed = True


def message(body: bytes, code: int = Code.RESULT) -> bytes:
    return struct.pack("<BI", code, len(body)) + body


def answer(*machines: float) -> bytes:
    return struct.pack("<BQBd", 1, 9, 0, 0.0) + struct.pack(f"<{len(machines)}d", *machines)


@pytest.mark.parametrize(
    "said",
    [
        message(answer(0.0, 1.0)),  # an output too short
        message(answer(0.0, 1.0, 2.0, 3.0)),
        message(answer(0.0, 0.5, 1.0)),  # no whole number
        message(answer(0.0, math.nan, 1.0)),
        message(answer()),  # ok, and nothing
        struct.pack("<BI", Code.RESULT, 1 << 31),
        message(b"", Code.READY),
        message(b"", 77),
    ],
)
def test_nonsense_ends_the_process(said: bytes, zygote: Zygote) -> None:
    process = ProgramProcess(zygote, LONGEST, jobs)
    process.close()
    told: Any = Told(said)
    process._fork = told
    with pytest.raises(CandidateStopped, match="answered what no program can"):
        process.ask(([3.0, 1.0, 2.0], 2, [0, 0, 0]))
    assert told.killed


def test_a_good_answer_in_its_place_is_taken(zygote: Zygote) -> None:
    process = ProgramProcess(zygote, LONGEST, jobs)
    process.close()
    told: Any = Told(message(answer(0.0, 1.0, 1.0)))
    process._fork = told
    found = process.ask(([3.0, 1.0, 2.0], 2, [0, 0, 0]))
    assert found == Answer(True, None, {"machine": [0, 1, 1]}, 9)


def test_a_host_operation_that_raises_is_the_kinds_fault() -> None:
    import statistics

    kind = kind_of(operations=(SPREAD,), host={"spread": statistics.harmonic_mean})
    source = "def decide(work, machine):\n    machine[0] = round(spread(work - 5.0)) * 0\n"
    with program_zygote(kind) as clean, ProgramProcess(clean, source, kind) as process:
        assert process.ask(([8.0, 9.0], 1, [0, 0])).ok
        with pytest.raises(IsolationError, match="host operation failed: StatisticsError"):
            process.ask(([1.0, 9.0], 1, [0, 0]))


def test_a_killed_process_says_that_it_died(zygote: Zygote) -> None:
    with ProgramProcess(zygote, LONGEST, jobs) as process:
        signal.pidfd_send_signal(process._fork._handle, signal.SIGKILL)
        with pytest.raises(CandidateStopped, match="died"):
            process.ask(([1.0], 2, [0]))


def test_the_weaker_mode_answers_alike() -> None:
    with program_zygote(jobs, "process") as clean, ProgramProcess(clean, LONGEST, jobs) as process:
        assert process.layers == WEAK_LAYERS
        assert process.ask(([3.0, 1.0, 2.0], 2, [0, 0, 0])).outputs == {"machine": [0, 1, 1]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"questions": None}, "needs questions="),
        ({"host": {"spread": math.fsum}}, "host= gives spread; the contract's operations are none"),
        ({"operations": (SPREAD,)}, "host= gives none; the contract's operations are spread"),
        ({"deadline_s": 0.0}, "deadline_s=0.0 and memory_mb=64 must be above 0"),
    ],
)
def test_a_kind_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        kind_of(**changes)
