"""One call: read, put to a program where one decides, answered by the incumbent where none can, recorded."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arms import Segment
from .group import MARGIN_S, Group, Shared, share
from .questions import Question
from .records import MOST_SILENCES, Noted

if TYPE_CHECKING:
    from .hook import ProgramHook

COLLECTIVE = "collective"
#: Calls of asynchronous functions that may wait for a program at once; a program answers one at a time.
_WAITING = 8


class Made(NamedTuple):
    """A decision that was made.

    Attributes:
        picked: what the service is given.
        seq: its number; -1 where it is not one that is recorded.
        recorded: whether it was recorded.
    """

    picked: Any
    seq: int
    recorded: bool


class _Begun(NamedTuple):
    held: Segment
    seq: int
    time_ns: int
    question: Question
    features: tuple[float, ...]


class _Told(NamedTuple):
    """What the incumbent is to be asked for, or not.

    Attributes:
        usable: whether ``picked`` is a program's answer.
        picked: in the service's own form.
        detail: why there is none although a program decides.
        spent_ns: time that it took; -1 where nobody was asked.
    """

    usable: bool
    picked: Any = None
    detail: str = ""
    spent_ns: int = -1


_UNTOLD = _Told(False)


class Calls:
    """Makes the decisions of one hook; none of this raises but what the incumbent raises.

    Args:
        hook: whose.
    """

    def __init__(self, hook: ProgramHook) -> None:
        self._hook = hook
        self._turn = threading.Lock()  # a group makes one call at a time
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    def made(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Made:
        """Make one decision on the caller's thread."""
        begun, told = self._first(args, kwargs)
        if told.usable:
            return self._last(begun, told, told.picked)
        try:
            picked = self._hook.incumbent(*args, **kwargs)
        except BaseException:
            self._raised(begun)
            raise
        return self._last(begun, told, picked)

    async def made_async(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Made:
        """Make one decision; a program is waited for on another thread, so that the loop goes on."""
        held = self._hook.held()
        if self._hook.spec.group is None and (held is None or held.program is None):
            begun, told = self._first(args, kwargs)
        else:
            begun, told = await self._apart(args, kwargs)
        if told.usable:
            return self._last(begun, told, told.picked)
        try:
            picked = await self._hook.incumbent(*args, **kwargs)
        except BaseException:
            self._raised(begun)
            raise
        return self._last(begun, told, picked)

    async def _apart(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[_Begun | None, _Told]:
        """Return what :meth:`_first` does, from a thread of the hook's own: the service's may all be busy.

        Where none of these is free within the kind's deadline either, the call is late. In a group it waits
        on, for the others wait for it.
        """
        context, begin = contextvars.copy_context(), time.monotonic_ns()
        try:
            work = self._threads().submit(context.run, self._first, args, kwargs)
        except RuntimeError:  # no thread can start, or the interpreter ends
            return self._first(args, kwargs)
        alone = self._hook.spec.group is None
        first = asyncio.wrap_future(work)
        try:
            await asyncio.wait({first}, timeout=self._hook.kind.deadline_s if alone else None)
            if alone and work.cancel():
                return self._late(args, kwargs, begin)
            return await asyncio.shield(first)
        except BaseException:  # the caller was cancelled; what was begun goes on and is counted
            if not (alone and work.cancel()):
                work.add_done_callback(self._abandoned)  # not of the loop's: that may end before
            raise

    def _threads(self) -> ThreadPoolExecutor:
        """Return threads on which calls wait; in a forked child others than the parent's."""
        if self._pool is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._pool = ThreadPoolExecutor(_WAITING, "gnomon-call")
        return self._pool

    def _late(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], begin_ns: int
    ) -> tuple[_Begun | None, _Told]:
        """Return the call as it was read, which nobody could be asked in time."""
        begun = self._begin(args, kwargs)
        guard: Any = begun.held.program if begun is not None else None
        if guard is None:  # it was taken back meanwhile
            return begun, _UNTOLD
        detail = guard.late()
        self._count(detail)
        return begun, _Told(False, None, detail, time.monotonic_ns() - begin_ns)

    def derive(self, seq: int, picked: Any) -> None:
        """Report the outcome that ``outcome=`` takes from the result of a plain call."""
        if self._hook.spec.outcome is None:
            return
        try:
            values = dict(self._hook.spec.outcome(picked))
            ok = bool(values.pop("ok", True))
            self._hook.report(seq, ok, "reported", values)
        except Exception as error:  # noqa: BLE001 - the service's own function may raise anything
            self._hook.recording.complain(error)

    def _first(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[_Begun | None, _Told]:
        """Return the call as it was read, and what the program that decides answers to it."""
        group = self._hook.spec.group
        if group is not None and group.rank != 0:
            return None, self._followed(args, kwargs)
        begun = self._begin(args, kwargs)
        try:
            return begun, self._answered(begun)
        except BaseException:  # a signal's handler ended the wait
            self._raised(begun)
            raise

    def _answered(self, begun: _Begun | None) -> _Told:
        """Return what the program that decides answers, or the group."""
        group = self._hook.spec.group
        try:
            outputs, detail, spent = self._ask(begun)
        except BaseException:  # a signal's handler ended the wait, and the others wait for this one
            if group is not None:
                self._shared(group, None, None, MARGIN_S)
            raise
        if group is None:
            self._count(detail)
            return self._given_back(outputs, detail, spent)
        shared = self._shared(group, begun.question if begun is not None else None, outputs)
        if not shared.why:
            self._count(detail)
        elif begun is not None and begun.held.program:
            detail = COLLECTIVE
        return _Told(shared.outputs is not None, shared.picked, detail, spent)

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Begun | None:
        """Return the call as it was read; None where it is not to be recorded, or cannot be read."""
        hook, tallies = self._hook, self._hook.recording.tallies
        held = hook.held()
        if held is None or held.skip:
            tallies["passed"].bump()
            return None
        seq = hook.recording.numbers.bump()
        try:
            question = hook.reader.question(args, kwargs)
            features = hook.reader.features(question)
        except Exception as error:  # noqa: BLE001 - arguments and accessors are the service's own
            tallies["failed"].bump()
            hook.recording.complain(error)
            return None
        return _Begun(held, seq, hook.clock.time_ns(), question, features)

    def _ask(self, begun: _Begun | None) -> tuple[dict[str, Any] | None, str, int]:
        guard: Any = begun.held.program if begun is not None else None
        if begun is None or guard is None:
            return None, "", -1
        outputs, detail, spent = guard.ask(begun.question)
        return outputs, detail, spent

    def _count(self, detail: str) -> None:
        if detail:
            self._hook.recording.tallies[detail.partition(":")[0]].bump()

    def _shared(
        self, group: Group, question: Question | None, outputs: Any, patience_s: float = 0.0
    ) -> Shared:
        """Return what the group came to; a fallback of all is counted once, as that.

        A group that was silent time and again is not waited for any more: whoever takes the incumbent's
        answer makes all others take it. A call that was cancelled may still be at it on another thread.
        """
        recording, patience_s = self._hook.recording, patience_s or self._patience_s
        if recording.silences >= MOST_SILENCES:
            shared = Shared(None, False, "it is not waited for any more")
        elif not self._turn.acquire(timeout=2.0 * patience_s):
            shared = Shared(None, False, "an earlier call still waits for it")
        else:
            try:
                give, begin = self._hook.reader.given_back, time.monotonic()
                shared = share(group, self._contract, question, outputs, patience_s, give)
                silent = not shared.agreed and time.monotonic() - begin >= patience_s
            finally:
                self._turn.release()
            recording.heard(not silent)
        if shared.why:
            recording.fell_back(shared.why)
        return shared

    def _given_back(self, outputs: dict[str, Any] | None, detail: str, spent: int) -> _Told:
        if outputs is None:
            return _Told(False, None, detail, spent)
        try:
            return _Told(True, self._hook.reader.given_back(outputs), detail, spent)
        except Exception as error:  # noqa: BLE001 - answer= is the service's own function
            self._hook.recording.complain(error)
            self._hook.recording.tallies["fault"].bump()
            return _Told(False, None, "fault", spent)

    def _followed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Told:
        """Return the answer that rank 0 of the group gives."""
        hook = self._hook
        group = hook.spec.group
        assert group is not None
        hook.held()  # the first call starts the drainer here, too
        hook.recording.tallies["followed"].bump()
        if hook.killed:  # whoever does not know the question makes all take the incumbent's answer
            return self._told_by(group, None)
        try:
            question: Question | None = hook.reader.question(args, kwargs)
        except Exception as error:  # noqa: BLE001 - as in _begin
            hook.recording.complain(error)
            question = None
        return self._told_by(group, question)

    def _told_by(self, group: Group, question: Question | None) -> _Told:
        shared = self._shared(group, question, None)
        return _Told(shared.outputs is not None, shared.picked)

    def _last(self, begun: _Begun | None, told: _Told, picked: Any) -> Made:
        if begun is None:
            return Made(picked, -1, False)
        detail = told.detail or begun.held.detail
        noted = Noted(begun.held, begun.seq, begun.time_ns, begun.features, detail, told.spent_ns)
        recorded = self._hook.recording.note(noted, begun.question, picked)
        return Made(picked, begun.seq, recorded)

    def _abandoned(self, first: Future[tuple[_Begun | None, _Told]]) -> None:
        if not first.cancelled() and first.exception() is None:
            self._raised(first.result()[0])

    def _raised(self, begun: _Begun | None) -> None:
        if begun is not None:
            self._hook.recording.tallies["raised"].bump()

    @property
    def _contract(self) -> Any:
        return self._hook.kind.program

    @property
    def _patience_s(self) -> float:
        """Seconds that others wait for rank 0: another thread's call, its own, and a margin."""
        return 2.0 * self._hook.kind.deadline_s + MARGIN_S
