"""Asking a program on the request path: in its own process, within its limits, and never raising."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import GnomonError
from ..isolation.program import ProgramProcess
from ..isolation.status import Status
from ..isolation.zygote import CandidateStopped
from ..language._arrays import unsuitable
from .nursery import NURSERY
from .questions import Question, broken_by, outside

if TYPE_CHECKING:
    from ..guard import Breaker
    from ..invariant import Invariant
    from ..isolation.layers import IsolationMode
    from ..kind import Kind
    from ..language import ArrayProgram

_LOG = logging.getLogger("gnomon")
#: Why an answer was not used, besides ``violation:NAME``.
UNASKED, FAULT, TIMEOUT, WITHDRAWN = "features", "fault", "timeout", "withdrawn"


class Verdict(NamedTuple):
    """What came of asking.

    Attributes:
        outputs: plain lists by output; None where the incumbent is to answer.
        detail: why; empty with outputs.
        spent_ns: time it took.
    """

    outputs: dict[str, Any] | None
    detail: str
    spent_ns: int


class ProgramGuard:
    """A program, as the request path may ask it.

    Its process is made ready by :meth:`start`; one that was killed is replaced at the next call. Calls
    from several threads wait for each other, none longer than the kind's deadline.

    Args:
        program: checked for the kind.
        kind: of program form.
        invariants: of the hook.
        breaker: of this program in this process.
        mode: of isolation.
        monotonic_ns: clock.

    Attributes:
        program: that is asked.
        breaker: takes note of failures.
        answers: None: a program answers no items.
    """

    answers = None

    def __init__(
        self,
        program: ArrayProgram,
        kind: Kind,
        invariants: Sequence[Invariant],
        breaker: Breaker,
        mode: IsolationMode,
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.program = program
        self.breaker = breaker
        self._kind = kind
        self._invariants = tuple(
            i for i in invariants if i.scope == "decision" and i.severity == "block"
        )
        self._mode: IsolationMode = mode
        self._now = monotonic_ns
        self._asked = count()
        self._lock = threading.Lock()
        self._process: ProgramProcess | None = None
        self._pid = os.getpid()
        self._closed = False

    def start(self) -> None:
        """Make the process ready; a failure is logged, and shows again when the program is asked."""
        if self._process is not None:
            return
        self._lock.acquire()
        try:
            self._ready()
        except (GnomonError, OSError) as error:
            if not self._closed:
                _LOG.error("a program of kind %r cannot start: %s", self._kind.name, error)
        finally:
            self._release()

    def ask(self, question: Question) -> Verdict:
        """Return the program's answer, or why there is none; failures count towards the breaker."""
        begin = self._now()
        outputs, detail = self.answer(question)
        spent = self._now() - begin
        if detail not in ("", UNASKED, WITHDRAWN):
            self.breaker.fault(next(self._asked), detail)
        elif not detail:
            next(self._asked)
        return Verdict(outputs, detail, spent)

    def answer(self, question: Question) -> tuple[dict[str, Any] | None, str]:
        """Return outputs and why there are none, with no effect on the breaker."""
        if outside(self._kind, question) or unsuitable(self.program.contract, question.terms):
            return None, UNASKED  # not the program's fault
        outputs, detail = self._told(question)
        if outputs is None:
            return None, detail
        broken = broken_by(self._kind, self._invariants, question, outputs)
        return (None, f"violation:{broken.name}") if broken is not None else (outputs, "")

    def close(self) -> None:
        """End the process; a call that waits for it gets no answer."""
        self._closed = True
        if self._pid != os.getpid():
            if self._process is not None:
                self._process.abandon()
        elif self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()
        elif (process := self._process) is not None:
            process.end()  # whoever holds the lock frees the handles once it is done

    def _told(self, question: Question) -> tuple[dict[str, Any] | None, str]:
        if not self._lock.acquire(timeout=self._kind.deadline_s):
            return None, TIMEOUT
        try:
            answer = self._ready().ask_terms(question.terms)
        except CandidateStopped as stopped:
            self._drop()
            late = stopped.status is Status.TIMEOUT
            return None, WITHDRAWN if self._closed else TIMEOUT if late else FAULT
        except (GnomonError, OSError):  # the isolation's own failure, or a host operation's
            self._drop()
            return None, WITHDRAWN if self._closed else FAULT
        finally:
            self._release()
        if self._closed:
            return None, WITHDRAWN
        return (answer.outputs, "") if answer.ok else (None, FAULT)

    def _drop(self) -> None:
        """End the process, if there is one; the next call makes another. The lock is held."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _release(self) -> None:
        """Release the lock, and do what was left to whoever held it."""
        self._lock.release()
        if self._closed:
            self.close()

    def _ready(self) -> ProgramProcess:
        if self._closed:
            raise CandidateStopped(Status.DIED, "it was withdrawn")
        if self._process is None:
            zygote = NURSERY.zygote(self._kind, self._mode)
            self._process = ProgramProcess(zygote, self.program.source, self._kind)
        return self._process
