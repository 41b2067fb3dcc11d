"""The ensemble as a writer of the search: a brief becomes a call, and the answer a program."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from ...sdk.errors import ConfigurationError
from ..search.records import Assignment, Reply
from .cache import Cache
from .calls import Result
from .chat import Answer, Request
from .keys import SETTINGS, environment, variables
from .options import Model, ModelOptions
from .prices import Prices
from .process import ModelProcess

_LOG = logging.getLogger("gnomon")
#: Characters of an error that reach the log and prompts.
_MOST_ERROR = 200


class Reader(Protocol):
    """Makes a program of an answer."""

    def __call__(self, answer: str, assignment: Assignment) -> tuple[str, str]:
        """Return the whole program and an empty string, or an empty string and why there is none."""
        ...


class ModelWriter:
    """Asks the model that a brief names; see :class:`..search.writers.Writer`.

    Args:
        options: the ensemble.
        read: makes a program of an answer.
        prices: of its models.
        own: variables to take keys from; those of this process when None.
        process: that asks; a fresh one when None.

    Attributes:
        answers: how many calls were answered; known ones are not among them.
        doubted: of how many of them the tokens are the most that they can be, because the endpoint's own
            count is missing or cannot be.
        known: how many answers were known from earlier calls.

    Raises:
        ConfigurationError: litellm is needed and missing, or the folder of answers cannot be used.
    """

    def __init__(
        self,
        options: ModelOptions,
        read: Reader,
        prices: Prices,
        *,
        own: Mapping[str, str] | None = None,
        process: ModelProcess | None = None,
    ) -> None:
        self._options = options
        self._read = read
        self._prices = prices
        self._cache = None if options.cache is None else Cache(options.cache)
        self._process = process or started(options, own)
        self.answers = self.doubted = self.known = 0

    def submit(self, assignment: Assignment) -> Future[Reply]:
        """Begin to write; the future never raises for an answer that is no program."""
        model = self._options.model(assignment.brief.author)
        request = self._request(model, assignment)
        future: Future[Reply] = Future()
        known = None if self._cache is None else self._cache.get(request)
        if known is not None:
            self.known += 1
            future.set_result(self._written(model, request, assignment, known, cached=True))
            return future

        def ended(called: Future[Result]) -> None:
            try:
                future.set_result(self._reply(model, request, assignment, called.result()))
            except BaseException as error:  # noqa: BLE001 - else whoever waits would wait for ever
                future.set_exception(error)

        self._process.ask(request, self._options.timeout).add_done_callback(ended)
        return future

    def close(self) -> None:
        """Kill the process; what is being written ends without an answer."""
        self._process.close()
        if self.doubted:
            _LOG.warning(
                "%d of %d answers of models came without a count of tokens that can be; the most that they "
                "can have counts, in the log and against the cap",
                self.doubted,
                self.answers,
            )
            self.doubted = 0

    def _request(self, model: Model, assignment: Assignment) -> Request:
        brief = assignment.brief
        return Request(
            model=model.remote,
            adapter=model.adapter,
            messages=brief.prompt.messages,
            temperature=self._options.temperature,
            max_tokens=brief.max_tokens,
            seed=brief.seed,
            base=model.base,
            key_env=model.key_env,
        )

    def _reply(
        self, model: Model, request: Request, assignment: Assignment, result: Result
    ) -> Reply:
        if result.answer is None:
            cost = None if result.doubtful else 0.0
            return Reply(error=plain(result.error), cost=cost, author=model.name)
        reply = self._written(model, request, assignment, result.answer, result.doubtful > 0)
        if self._cache is not None and result.answer.text:
            self._cache.put(request, result.answer)
        return reply

    def _written(
        self,
        model: Model,
        request: Request,
        assignment: Assignment,
        answer: Answer,
        doubtful: bool = False,
        *,
        cached: bool = False,
    ) -> Reply:
        used = answer.tokens_in, answer.tokens_out
        counted = self._prices.count(
            model.name, request.messages, request.max_tokens, answer.text, used, base=model.base
        )
        self.answers += not cached
        self.doubted += not (cached or counted.believed)
        source, error = "", _silent(answer)
        if not error:
            source, error = self._read(answer.text, assignment)
            if error and answer.finish == "length":
                error = f"the answer was cut after {request.max_tokens} tokens; {error}"
        cost = 0.0 if cached else None if doubtful else counted.cost
        return Reply(
            source=source,
            error=plain(error),
            cost=cost,
            tokens_in=0 if cached else counted.tokens_in,
            tokens_out=0 if cached else counted.tokens_out,
            author=model.name,
            cached=cached,
        )


def _silent(answer: Answer) -> str:
    """Return why an answer says nothing; empty where it says something."""
    if answer.text.strip():
        return ""
    if answer.finish == "content_filter":
        return "the model refused: content filter"
    return f"the model said nothing (finish: {answer.finish})"


def plain(text: str) -> str:
    """Return what an endpoint said as printable ASCII on one line, at most 200 characters."""
    line = " ".join(text[: 8 * _MOST_ERROR].split())
    return "".join(c if " " <= c <= "~" else "?" for c in line)[:_MOST_ERROR]


def started(options: ModelOptions, own: Mapping[str, str] | None = None) -> ModelProcess:
    """Return the process for an ensemble; raises ConfigurationError when litellm is needed and missing."""
    with_litellm = [model.name for model in options.models if model.adapter == "litellm"]
    if with_litellm and importlib.util.find_spec("litellm") is None:
        raise ConfigurationError(
            f"model {with_litellm[0]} needs litellm, which is not installed; run: pip install "
            "'gnomon[llm]', or name a server of OpenAI's wire format: "
            "openai-compatible:NAME@http://HOST:PORT/v1"
        )
    names = variables(options.models)
    secret = [name for name in names if name not in SETTINGS]
    return ModelProcess(environment(names, own), secret, litellm=bool(with_litellm))
