"""How a call ends: with an answer, or with the status that fits an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

import grpc
from grpc.aio import ServicerContext as Context

from ....sdk.errors import GnomonError, TrustError

T = TypeVar("T")


async def answer(context: Context, question: Callable[[], T]) -> T:
    """Return what a question gives; an error of ours ends the call."""
    try:
        return question()
    except GnomonError as error:
        await abort_on(context, error)


async def abort_on(context: Context, error: BaseException | None) -> NoReturn:
    """End a call with the status that fits an error."""
    if isinstance(error, TrustError):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    if isinstance(error, GnomonError):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    raise error or RuntimeError("no error")
