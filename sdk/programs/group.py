"""Several processes that decide as one: one asks, all answer alike, or all take the incumbent's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..isolation.program_wire import answer_size, pack_answer, pack_terms, unpack_answer
from ..language import Answer

if TYPE_CHECKING:
    from ..language import ProgramContract
    from .questions import Question

_DIGEST = 16
#: Seconds beyond a program's deadline that the others wait for it.
MARGIN_S = 1.0


class Group(Protocol):
    """What a hook needs of the processes that decide together; all of them make the same calls.

    Attributes:
        rank: of this process, from 0; 0 asks.
        size: how many there are.
    """

    rank: int
    size: int

    def broadcast(self, data: bytes | None, timeout_s: float) -> bytes:
        """Return in every process what rank 0 gives; the others give None. Raises when it takes longer."""
        ...

    def agree(self, ok: bool, timeout_s: float) -> bool:
        """Return whether every process says so, the same in all of them. Raises when it takes longer."""
        ...


class Shared(NamedTuple):
    """What the group came to.

    Attributes:
        outputs: the answer of all; None where all take the incumbent's.
        agreed: whether that is what rank 0 said.
        why: what this process knows of why not; empty where all agreed.
        picked: the answer as the service takes it.
    """

    outputs: dict[str, Any] | None
    agreed: bool
    why: str = ""
    picked: Any = None


def share(
    group: Group,
    contract: ProgramContract,
    question: Question | None,
    outputs: Mapping[str, Any] | None,
    timeout_s: float,
    give: Callable[[dict[str, Any]], Any] = dict,
) -> Shared:
    """Give rank 0's answer to all; never raises.

    Every process checks that it was asked the same question. Where one did not hear, was asked another,
    cannot use the answer, or does not answer in time, all that hear of it take the incumbent's answer.

    Args:
        group: of processes.
        contract: of the kind.
        question: of this process; None where its call could not be read.
        outputs: rank 0's answer; None for the incumbent's, and in the others.
        timeout_s: of each of the two steps.
        give: what the service makes of an answer; where that raises, this process does not agree.
    """
    own = _digest(question)
    message = _packed(contract, own, outputs) if group.rank == 0 else None
    told: dict[str, Any] | None = None
    picked: Any = None
    why = ""
    try:
        heard = bytes(group.broadcast(message, timeout_s))
        told = _unpacked(contract, question, own, heard)
        if told is None and len(heard) != _DIGEST:
            why = "rank 0 was asked another question than this one, or its answer came damaged"
    except Exception as error:  # noqa: BLE001 - the service's own transport may raise anything
        why = f"rank 0 was not heard ({type(error).__name__}: {error})"
    try:
        picked = give(told) if told is not None else None
    except Exception as error:  # noqa: BLE001 - answer= is the service's own function
        why = f"answer= raised ({type(error).__name__}: {error})"
    try:
        agreed = bool(group.agree(not why, timeout_s))
        why = why or ("" if agreed else "another rank did not agree, or was not heard")
    except Exception as error:  # noqa: BLE001 - as above
        why = why or f"whether all agree was not heard ({type(error).__name__}: {error})"
    return Shared(None, False, why) if why else Shared(told, True, "", picked)


def _digest(question: Question | None) -> bytes:
    if question is None:
        return bytes(_DIGEST)
    body = pack_terms(question.terms.values())
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()


def _packed(contract: ProgramContract, own: bytes, outputs: Mapping[str, Any] | None) -> bytes:
    if outputs is None:
        return own
    return own + pack_answer(contract, Answer(True, None, dict(outputs), 0))


def _unpacked(
    contract: ProgramContract, question: Question | None, own: bytes, heard: bytes
) -> dict[str, Any] | None:
    """Return the answer that was heard; None where it is the incumbent's, or to another question."""
    body = heard[_DIGEST:]
    if not body or question is None or heard[:_DIGEST] != own:
        return None
    if len(body) != answer_size(contract, question.terms):
        return None
    answer = unpack_answer(contract, question.terms, body)
    return answer.outputs if answer.ok else None
