"""Models that litellm knows: most providers, and local servers. Imported in the models' process only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from .chat import Answer, Failure, Request, prompt_of, read_body, refused, seconds_after

#: How litellm names models without a chat form.
_PLAIN = "text-completion-"


class Lite:
    """Asks through litellm, once: its own retries, caches, callbacks and price sums stay off.

    Args:
        now: seconds since the epoch, for dates in ``Retry-After``.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        # without it the import fetches a price list from the network
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        import litellm

        litellm.telemetry = False
        litellm.suppress_debug_info = True
        self._litellm: Any = litellm
        self._now = now

    def answer(self, request: Request, seconds: float) -> Answer:
        """See :class:`.chat.ChatModel`."""
        options: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "timeout": seconds,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,  # what a provider does not take is left out
        }
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.base:
            # a server of the user's own never gets the key of a provider that is in the environment
            options["api_key"] = os.environ.get(request.key_env, "") or "none"
            options["api_base"] = request.base
        try:
            return self._asked(request, options)
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library of a hundred providers raises
            raise self._failure(error, seconds) from None

    def _asked(self, request: Request, options: dict[str, Any]) -> Answer:
        if not request.model.startswith(_PLAIN):
            messages = [{"role": role, "content": text} for role, text in request.messages]
            return read_body(self._litellm.completion(messages=messages, **options).model_dump())
        prompt, began = prompt_of(request.messages)
        found = self._litellm.text_completion(prompt=prompt, stop=["```"], **options)
        return read_body(found.model_dump(), began)

    def _failure(self, error: Exception, seconds: float) -> Failure:
        kinds = self._litellm.exceptions
        if isinstance(error, kinds.Timeout):
            return Failure(f"no answer within {seconds:.3g} s", again=True, charged=True)
        text = f"{type(error).__name__}: {error}"
        if any(type(cause).__name__ == "ConnectError" for cause in _causes(error)):
            return Failure(text, again=True)
        status = _status(error)
        if status is None:
            return Failure(text, again=True, charged=True)
        return refused(status, text, self._after(error))

    def _after(self, error: Exception) -> float | None:
        response = getattr(error, "response", None)
        for headers in (
            getattr(error, "litellm_response_headers", None),
            getattr(response, "headers", None),
        ):
            value = headers.get("retry-after") if headers is not None else None
            if value:
                return seconds_after(str(value), self._now())
        return None


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an endpoint answered with; None where that is not certain.

    litellm gives its own errors a status, and one of 500 to whatever it cannot read; only an error of the
    library below holds what was received.
    """
    claimed = getattr(error, "status_code", None)
    if isinstance(claimed, int) and 400 <= claimed < 500:
        return claimed
    for cause in _causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if type(cause).__module__.split(".")[0] in {"openai", "httpx"} and isinstance(status, int):
            return status
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
