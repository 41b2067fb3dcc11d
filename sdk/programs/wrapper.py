"""The function that a service calls: decisions are rare here, so that plain closures do."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..decide import AwaitedDecision, OpenDecision

if TYPE_CHECKING:
    from .hook import ProgramHook


def wrapped(hook: ProgramHook) -> Callable[..., Any]:
    """Return the hook's function as the service calls it, with the hook's own methods beside it."""
    asynchronous = inspect.iscoroutinefunction(hook.incumbent)
    call, decide = _asynchronous(hook) if asynchronous else _synchronous(hook)
    functools.update_wrapper(call, hook.incumbent)
    vars(call).update(
        hook=hook, decide=decide, outcome=hook.outcome, partial=hook.partial, event=hook.event
    )
    return call


def _synchronous(hook: ProgramHook) -> tuple[Callable[..., Any], Callable[..., Any]]:
    incumbent = hook.incumbent

    def call(*args: Any, **kwargs: Any) -> Any:
        if hook.segment is None:
            return incumbent(*args, **kwargs)
        made = hook.calls.made(args, kwargs)
        if made.recorded:
            hook.calls.derive(made.seq, made.picked)
        return made.picked

    def decide(*args: Any, **kwargs: Any) -> Any:
        if hook.segment is None:
            return OpenDecision(_live(hook), incumbent(*args, **kwargs), -1, False)
        hook.promised()
        return OpenDecision(_live(hook), *hook.calls.made(args, kwargs))

    return call, decide


def _asynchronous(hook: ProgramHook) -> tuple[Callable[..., Any], Callable[..., Any]]:
    incumbent = hook.incumbent

    async def call(*args: Any, **kwargs: Any) -> Any:
        if hook.segment is None:
            return await incumbent(*args, **kwargs)
        made = await hook.calls.made_async(args, kwargs)
        if made.recorded:
            hook.calls.derive(made.seq, made.picked)
        return made.picked

    async def opened(*args: Any, **kwargs: Any) -> Any:
        if hook.segment is None:
            return OpenDecision(_live(hook), await incumbent(*args, **kwargs), -1, False)
        hook.promised()
        return OpenDecision(_live(hook), *await hook.calls.made_async(args, kwargs))

    def decide(*args: Any, **kwargs: Any) -> Any:
        awaited: Any = hook
        return AwaitedDecision(awaited, lambda: opened(*args, **kwargs))

    return call, decide


def _live(hook: ProgramHook) -> Any:
    """Return what an open decision needs: to name itself and to report."""
    return hook
