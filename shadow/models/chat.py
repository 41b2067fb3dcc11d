"""What is asked of a model and what comes back, whoever carries it there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from ..search.authors.edits import MOST_ANSWER
from .options import Adapter


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        model: name as the adapter takes it.
        adapter: who carries it.
        messages: (role, text) in order.
        temperature: None for the provider's own.
        max_tokens: of the answer.
        seed: for models that take one.
        base: address of the server; empty for the provider's own.
        key_env: variable with the key that a server at ``base`` gets; empty for none.
    """

    model: str
    adapter: Adapter
    messages: tuple[tuple[str, str], ...]
    temperature: float | None
    max_tokens: int
    seed: int
    base: str = ""
    key_env: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Request:
        """Return the request of such values."""
        messages = tuple((str(role), str(text)) for role, text in data["messages"])
        return cls(**{**data, "messages": messages})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Attributes:
        text: all of it; empty when it refused or said nothing.
        tokens_in, tokens_out: as the endpoint counts them; None where it does not.
        finish: why it ended: ``stop``, ``length``, ``content_filter`` or the endpoint's own word.
    """

    text: str
    tokens_in: int | None
    tokens_out: int | None
    finish: str


class Failure(Exception):
    """A model gave no answer.

    Attributes:
        again: whether another attempt can help.
        charged: whether the provider may charge for this one all the same.
        after: seconds that it asks to wait; None where it does not.
    """

    def __init__(
        self, text: str, *, again: bool, charged: bool = False, after: float | None = None
    ) -> None:
        super().__init__(text)
        self.again = again
        self.charged = charged
        self.after = after


class ChatModel(Protocol):
    """Carries one question to a model, once."""

    def answer(self, request: Request, seconds: float) -> Answer:
        """Return the answer.

        Args:
            seconds: to wait for it.

        Raises:
            Failure: there is none.
        """
        ...


def refused(status: int, text: str, after: float | None = None) -> Failure:
    """Return the failure of an answer with an HTTP status that is an error."""
    again = status in {408, 409, 425, 429} or status >= 500
    # a gateway's time-out says nothing of what is behind it
    return Failure(f"HTTP {status}: {text}", again=again, charged=status in {408, 504}, after=after)


def seconds_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` header: a number, or a date (RFC 9110); None for neither.

    Args:
        now: seconds since the epoch.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


def prompt_of(messages: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Return the text that a model without a chat form continues, and how its answer begins.

    Where the prompt ends within a code fence, what stands after the fence is the answer's own beginning.
    """
    text = "\n\n".join(text for _, text in messages)
    fences = [at for at, line in _lines(text) if line.lstrip().startswith("```")]
    return text, text[fences[-1] :] if len(fences) % 2 else ""


def _lines(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for line in text.splitlines(keepends=True):
        found.append((at, line))
        at += len(line)
    return found


def read_body(body: Any, began: str = "") -> Answer:
    """Return the answer in the body of OpenAI's wire format, for chat and for plain text.

    Args:
        body: parsed JSON; anything at all.
        began: what the answer begins with that the prompt held.

    Raises:
        Failure: it is none.
    """
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise Failure("an answer that is no chat completion", again=True, charged=True)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    used = usage.get("prompt_tokens"), usage.get("completion_tokens")
    first = body["choices"][0] if body["choices"] else {}
    first = first if isinstance(first, dict) else {}
    message = first.get("message")
    text = message.get("content") if isinstance(message, dict) else first.get("text")
    finish = str(first.get("finish_reason") or ("stop" if first else "empty"))[:40]
    said = text if isinstance(text, str) else ""
    if len(said) > MOST_ANSWER:
        raise Failure(f"an answer of {len(said)} characters", again=False, charged=True)
    if began and said:
        # the fence that ends it is where the model was told to stop, and is left out
        said = began + said + ("\n```\n" if finish == "stop" else "")
    return Answer(said, _tokens(used[0]), _tokens(used[1]), finish)


def _tokens(count: Any) -> int | None:
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
