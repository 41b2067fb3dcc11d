"""A decision held open until its outcome is known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from .errors import ConfigurationError
from .outcomes import PARTIAL

if TYPE_CHECKING:
    from ._live import Live
    from .hook import Hook

R = TypeVar("R")


class OpenDecision(Generic[R]):
    """What ``with hook.decide(...) as decision`` gives; may span awaits.

    Leaving the block by an exception closes it as ``error``, by a cancellation as ``cancelled``;
    leaving it without an outcome leaves that to a later ``hook.outcome(decision.id, ...)``.

    Attributes:
        action: the picked item.
        seq: number of the decision in this process; -1 when the hook is off, and outside of a window
            that is recorded.
        recorded: whether the decision was recorded; if not, its outcome is not either.
    """

    __slots__ = ("_live", "action", "recorded", "seq")

    def __init__(self, live: Live, action: R, seq: int, recorded: bool) -> None:
        self._live = live
        self.action = action
        self.seq = seq
        self.recorded = recorded

    @property
    def id(self) -> bytes:
        """The decision's id, 16 bytes; empty where :attr:`seq` is -1."""
        return self._live.identify(self.seq) if self.seq >= 0 else b""

    def outcome(self, *, ok: bool = True, **values: float) -> None:
        """Report what was measured; the first report of a decision counts.

        Args:
            ok: whether the work succeeded.
            values: by metric name, in the metric's unit; those of :meth:`partial` are added.
        """
        if self.recorded:
            self._live.report(self.seq, ok, "reported", values)

    def partial(self, **values: float) -> None:
        """Report what is known so far, such as the time to a first token; the outcome is to follow.

        Args:
            values: by metric name, in the metric's unit; the latest of a name counts.
        """
        if self.recorded:
            self._live.report(self.seq, True, PARTIAL, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # A cancellation, or the process being ended, is not a failure of the work.
            failed = issubclass(kind, Exception)
            self._report("error" if failed else "cancelled")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def _report(self, status: str) -> None:
        if self.recorded:
            self._live.report(self.seq, False, status, {})


class AwaitedDecision(Generic[R]):
    """What ``async with hook.decide(...)`` enters when the incumbent itself is asynchronous."""

    __slots__ = ("_decide", "_hook", "_opened")

    def __init__(self, hook: Hook, decide: Callable[[], Awaitable[OpenDecision[R]]]) -> None:
        self._hook = hook
        self._decide = decide
        self._opened: OpenDecision[R] | None = None

    def __enter__(self) -> Any:
        raise ConfigurationError(
            f"hook {self._hook.name!r} is asynchronous; write 'async with' instead of 'with'"
        )

    def __exit__(self, *exc: object) -> None:
        """Is never reached; it is here so that ``with`` gives the error above."""

    async def __aenter__(self) -> OpenDecision[R]:
        self._opened = await self._decide()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.__exit__(kind, error, trace)
