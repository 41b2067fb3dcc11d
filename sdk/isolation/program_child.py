"""Inside a fork: check one program, then answer requests for ever; see :mod:`.program_wire`.

The clean process is told the kind's contract, and where its host operations can be imported from; they
are imported before any fork, because a fork has no files.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import LanguageError
from ..language import Answer, ArrayProgram, ProgramContract, check_program
from ..language._program_form import FAULT
from . import frames
from .lockdown import Cell
from .program_wire import REQUEST, What, contract_of, pack_answer, unpack_terms

_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<BI")  # as of a message; an answer may be longer than a message


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every fork is born with.

    Attributes:
        contract: of the kind.
        host: its operations, by name.
    """

    contract: ProgramContract
    host: Mapping[str, Callable[..., Any]]


def prepare(settings: dict[str, Any]) -> Prepared:
    """Import what programs may call, and warm what the first would otherwise do too late."""
    contract = contract_of(settings["contract"])
    host = {name: _found(place) for name, place in settings["host"].items()}
    if settings["ready"]:
        _found(settings["ready"])()
    warm = ProgramContract((), entry="warm", returns=True)
    program = check_program("def warm():\n    return sum(zeros(3)) + max(arange(2))\n", warm)
    program.bind()()
    program.interpret()
    return Prepared(contract, host)


def serve(descriptor: int, state: Prepared, cell: Cell) -> None:
    """Receive one source and answer requests until the host closes the connection."""
    (length,) = _LENGTH.unpack(frames.read_exactly(descriptor, _LENGTH.size))
    source = json.loads(frames.read_exactly(descriptor, length))
    try:
        program = check_program(source, state.contract)
    except LanguageError as error:
        text = frames.plain(str(error)).encode("ascii")
        frames.write_all(descriptor, frames.pack(frames.Code.REJECTED, text))
        return
    frames.write_all(descriptor, frames.pack(frames.Code.READY))
    _answer_for_ever(descriptor, program, state)


def _answer_for_ever(descriptor: int, program: ArrayProgram, state: Prepared) -> None:
    decide = program.bind(state.host)

    def reference(*arguments: Any) -> Answer:
        return program.interpret(*arguments, host=state.host)

    tiers = {What.DECIDE: decide, What.REFERENCE: reference}
    while True:
        what, length = REQUEST.unpack(frames.read_exactly(descriptor, REQUEST.size))
        body = frames.read_exactly(descriptor, length)
        answer = _answer(tiers[What(what)], state.contract, body)
        packed = pack_answer(state.contract, answer)
        frames.write_all(descriptor, _HEAD.pack(frames.Code.RESULT, len(packed)) + packed)


def _answer(decide: Callable[..., Answer], contract: ProgramContract, body: bytes) -> Answer:
    try:
        return decide(*unpack_terms(contract, body))
    except MemoryError:  # the kind's limit of memory; what was taken is free again by now
        return FAULT


def _found(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    operation: Callable[..., Any] = found
    return operation
