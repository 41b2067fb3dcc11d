"""A decision held open until its outcome is known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .hook import Hook

R = TypeVar("R")


class OpenDecision(Generic[R]):
    """What ``with hook.decide(...) as decision`` gives; may span awaits.

    Leaving the block by an exception closes it as ``error``, by a cancellation as ``cancelled``;
    leaving it without an outcome leaves that to a later ``hook.outcome(decision.id, ...)``.

    Attributes:
        action: the picked item.
        seq: number of the decision in this process; -1 when the hook is off.
        recorded: whether the decision was recorded; if not, its outcome is not either.
    """

    __slots__ = ("_hook", "action", "recorded", "seq")

    def __init__(self, hook: Hook, action: R, seq: int, recorded: bool) -> None:
        self._hook = hook
        self.action = action
        self.seq = seq
        self.recorded = recorded

    @property
    def id(self) -> bytes:
        """The decision's id, 16 bytes; empty when the hook is off."""
        return self._hook.decision_id(self.seq) if self.seq >= 0 else b""

    def outcome(self, *, ok: bool = True, **values: float) -> None:
        """Report what was measured; the first report of a decision counts.

        Args:
            ok: whether the work succeeded.
            values: by metric name, in the metric's unit.
        """
        self._report(ok, "reported", tuple(values.items()))

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
            self._report(False, "error" if failed else "cancelled", ())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def _report(self, ok: bool, status: str, values: tuple[tuple[str, float], ...]) -> None:
        if self.recorded:
            self._hook.live.report(self.seq, ok, status, values)


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
