"""Asking a program on the request path: in its own process, within its limits, and never raising."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._log import say
from ..errors import GnomonError, IsolationError
from ..isolation.program import ProgramProcess
from ..isolation.status import Status
from ..isolation.zygote import CandidateStopped
from ..language._arrays import unsuitable
from .nursery import NURSERY
from .questions import Question, objected, outside

if TYPE_CHECKING:
    from ..invariant import Invariant
    from ..isolation.layers import IsolationMode
    from ..kind import Kind
    from ..language import ArrayProgram
    from ..limits import Breaker

#: Why an answer was not used, besides ``violation:NAME``.
UNASKED, FAULT, TIMEOUT, WITHDRAWN = "features", "fault", "timeout", "withdrawn"
#: Seconds that an installation waits for the process, and that an answer is given at least.
_PATIENCE_S, _LEAST_S = 5.0, 0.001


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

    Its process is made ready by :meth:`start`; one that was killed is replaced at the next call, on a
    thread of its own, because a machine in trouble may take long. Calls from several threads wait for
    each other and for their process, neither longer than the kind's deadline.

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
        self._lock = threading.Lock()
        self._state = threading.Lock()  # of the three that follow; never held for long
        self._process: ProgramProcess | None = None
        self._starting: threading.Thread | None = None
        self._failure: Exception | None = None
        self._pid = os.getpid()
        self._closed = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers in force around the program; none while it has no process."""
        process = self._process
        return process.layers if process is not None else ()

    def start(self, *, wait: bool = True) -> None:
        """Make the process ready, or begin to; a failure is logged, and shows again when it is asked."""
        if self._process is None and not self._closed:
            self._await(_PATIENCE_S if wait else 0.0)

    def ask(self, question: Question) -> Verdict:
        """Return the program's answer, or why there is none; failures count towards the breaker."""
        begin = self._now()
        outputs, detail = self.answer(question)
        spent = self._now() - begin
        if detail not in ("", UNASKED, WITHDRAWN):
            self.breaker.fault(self.breaker.number(), detail)
        elif not detail:
            self.breaker.number()
        return Verdict(outputs, detail, spent)

    def answer(self, question: Question) -> tuple[dict[str, Any] | None, str]:
        """Return outputs and why there are none, with no effect on the breaker."""
        if outside(self._kind, question) or unsuitable(self.program.contract, question.terms):
            return None, UNASKED  # not the program's fault
        outputs, detail = self._told(question)
        if outputs is None:
            return None, detail
        broken = objected(self._kind, self._invariants, question, outputs)
        return (None, f"violation:{broken.name}") if broken is not None else (outputs, "")

    def late(self) -> str:
        """Note that a call's time was over before it could ask, and return the detail of that."""
        self.breaker.fault(self.breaker.number(), TIMEOUT)
        return TIMEOUT

    def close(self) -> None:
        """End the process; a call that waits for it gets no answer."""
        if (
            self._pid != os.getpid()
        ):  # here another thread of the parent's may hold the locks for ever
            self._closed = True
            if self._process is not None:
                self._process.abandon()
            return
        with self._state:
            self._closed = True
            process = self._process
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()
        elif process is not None:
            process.end()  # whoever holds the lock frees the handles once it is done

    def _told(self, question: Question) -> tuple[dict[str, Any] | None, str]:
        if not self._lock.acquire(timeout=self._kind.deadline_s):
            return None, TIMEOUT
        until = time.monotonic() + self._kind.deadline_s
        try:
            process = self._ready(until)
            left = max(until - time.monotonic(), _LEAST_S)
            answer = process.ask_terms(question.terms, within_s=left)
        except CandidateStopped as stopped:
            self._drop()
            late = stopped.status is Status.TIMEOUT
            return None, WITHDRAWN if self._closed else TIMEOUT if late else FAULT
        except (GnomonError, OSError, MemoryError):  # our own failure, or a host operation's
            self._drop()
            return None, WITHDRAWN if self._closed else FAULT
        except BaseException:  # a signal's handler ended the wait: the late answer is nobody's
            self._drop()
            raise
        finally:
            self._lock.release()
            if self._closed:
                self.close()  # what was left to whoever held the lock
        if self._closed:
            return None, WITHDRAWN
        return (answer.outputs, "") if answer.ok else (None, FAULT)

    def _drop(self) -> None:
        """End the process, if there is one; the next call makes another. The lock is held."""
        with self._state:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _ready(self, until: float) -> ProgramProcess:
        """Return the process; raises what kept it from starting, or that it is not there in time."""
        if self._process is not None and self._process.aged:
            self._drop()  # its end of life would look like a fault of the program's
        if self._process is None and not self._closed:
            self._await(until - time.monotonic())
        if self._closed:
            raise CandidateStopped(Status.DIED, "it was withdrawn")
        process, failure = self._process, self._failure
        if process is not None:
            return process
        raise failure or CandidateStopped(Status.TIMEOUT, "its process is not ready yet")

    def _await(self, seconds: float) -> None:
        """Wait for the thread that makes the process; begin a new one if none is at it."""
        with self._state:
            if (
                self._process is not None
            ):  # made since the caller looked; a second one would be lost
                return
            if self._starting is None or not self._starting.is_alive():
                self._failure = None
                made = threading.Thread(target=self._make, name="gnomon-program", daemon=True)
                try:
                    made.start()
                except RuntimeError as error:  # too many threads, or the interpreter ends
                    self._failure = IsolationError(f"no thread can start ({error})")
                    return
                self._starting = made
            starting = self._starting
        starting.join(max(seconds, 0.0))

    def _make(self) -> None:
        try:
            zygote = NURSERY.zygote(self._kind, self._mode)
            made = ProgramProcess(zygote, self.program.source, self._kind)
        except (GnomonError, OSError) as error:
            self._failure = error
            if not self._closed:
                text = "a program of kind %r cannot start: %s"
                say(logging.ERROR, text, self._kind.name, error)
            return
        with self._state:
            if not self._closed:
                self._process = made
                return
        made.close()
