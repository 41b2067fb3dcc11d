"""Every failure of an endpoint, through the real process, with litellm and without."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gnomon.shadow.models.calls import Result
from gnomon.shadow.models.chat import Request
from gnomon.shadow.models.options import Adapter
from gnomon.shadow.models.process import ModelProcess
from gnomon.shadow.search.authors.edits import MOST_ANSWER

from .conftest import SECRET
from .server import Cut, Hang, Raw, Say, Status, Step, serving

ADAPTERS: dict[str, tuple[Adapter, str]] = {
    "small": ("compatible", "m"),
    "small text": ("completion", "m"),
    "litellm": ("litellm", "openai/m"),
    "litellm text": ("litellm", "text-completion-openai/m"),
}
GOOD = Say("fine")
BUSY = Status(429, {"Retry-After": "0"}, '{"error": {"message": "slow down"}}')

#: name: steps, text or a part of the error, attempts, attempts that may be charged
TABLE: dict[str, tuple[list[Step], str, int, int]] = {
    "an answer": ([GOOD], "fine", 1, 0),
    "too many requests": ([BUSY, BUSY, GOOD], "fine", 3, 0),
    "too many requests until tomorrow": ([Status(429, {"Retry-After": "86400"})], "given up", 1, 0),
    "a broken server": ([Status(500), GOOD], "fine", 2, 0),
    "an overloaded server": ([Status(503, {"Retry-After": "0"}), GOOD], "fine", 2, 0),
    "no right to ask": (
        [Status(401, {}, '{"error": {"message": "bad key"}}'), GOOD],
        "bad key",
        1,
        0,
    ),
    "no such model": (
        [Status(404, {}, '{"error": {"message": "no model"}}'), GOOD],
        "no model",
        1,
        0,
    ),
    "a request refused": (
        [Status(400, {}, '{"error": {"message": "too long"}}'), GOOD],
        "too long",
        1,
        0,
    ),
    "a connection cut at once": ([Cut(), GOOD], "fine", 2, 1),
    "an answer cut": ([Raw(b'{"choices": [{"mess', missing=100), GOOD], "fine", 2, 1),
    "garbage": ([Raw(b"\x00\xff<html>what?"), GOOD], "fine", 2, 1),
    "nothing but garbage": ([Raw(b"[1, 2]")], "", 2, 2),
    "nested beyond reading": ([Raw(b"[" * 100_000)], "", 2, 2),
    "an answer of ten megabytes": ([Say("x" * 10_000_000), GOOD], "an answer of", 1, 1),
}


def request(name: str, base: str) -> Request:
    adapter, model = ADAPTERS[name]
    messages = (("system", "be brief"), ("user", "hello"))
    return Request(model, adapter, messages, 0.5, 64, 7, base, "TEST_MODEL_KEY")


@pytest.fixture(scope="module")
def results(process: ModelProcess) -> Iterator[dict[tuple[str, str], tuple[Result, int]]]:
    """Return (result, requests seen) of every case by (adapter, case): all at once, since they wait a lot."""
    with ExitStack() as stack:
        asked = {}
        for adapter, case in itertools.product(ADAPTERS, TABLE):
            server = stack.enter_context(serving(TABLE[case][0]))
            future = process.ask(request(adapter, server.base), 100.0)
            asked[adapter, case] = future, server
        yield {
            name: (future.result(150.0), len(server.seen))
            for name, (future, server) in asked.items()
        }


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("case", TABLE)
def test_failures(
    results: dict[tuple[str, str], tuple[Result, int]], adapter: str, case: str
) -> None:
    _, expected, attempts, doubtful = TABLE[case]
    result, seen = results[adapter, case]
    said = result.answer.text if result.answer else result.error
    assert expected in said
    assert (result.answer is None) == (expected != "fine")
    assert (result.attempts, result.doubtful) == (attempts, doubtful), result
    assert seen == attempts


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_is_sent(process: ModelProcess, adapter: str) -> None:
    with serving([GOOD]) as server:
        result = process.ask(request(adapter, server.base), 20.0).result(60.0)
    assert result.answer is not None
    assert (result.answer.tokens_in, result.answer.tokens_out) == (100, 50)
    (seen,) = server.seen
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    body = seen.body
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == (
        "m",
        0.5,
        64,
        7,
    )
    if "text" in adapter:
        assert seen.path == "/v1/completions"
        assert (body["prompt"], body["stop"]) == ("be brief\n\nhello", ["```"])
    else:
        assert seen.path == "/v1/chat/completions"
        assert [m["content"] for m in body["messages"]] == ["be brief", "hello"]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("step", "finish"),
    [
        (Say("", finish="content_filter"), "content_filter"),
        (Say(None, finish="stop"), "stop"),
        (Say("x", choices=False), "empty"),
    ],
    ids=["filtered", "null", "no choices"],
)
def test_a_refusal_is_an_answer_without_words(
    process: ModelProcess, adapter: str, step: Say, finish: str
) -> None:
    with serving([step]) as server:
        result = process.ask(request(adapter, server.base), 20.0).result(60.0)
    if result.answer is None:  # litellm takes an answer without choices for none
        assert (adapter.startswith("litellm"), result.doubtful) == (True, 2)
    else:
        assert (result.answer.text, result.answer.finish) == ("", finish)


def test_a_redirect_is_not_followed(process: ModelProcess) -> None:
    """It would carry the key elsewhere; what litellm stands on follows without the key."""
    with serving([GOOD]) as elsewhere:
        moved = Status(307, {"Location": f"{elsewhere.base}/chat/completions"})
        with serving([moved]) as server:
            result = process.ask(request("small", server.base), 20.0).result(60.0)
            process.ask(request("litellm", server.base), 20.0).result(60.0)
    assert result.error.startswith("HTTP 307")
    assert all("authorization" not in seen.headers for seen in elsewhere.seen)


@pytest.mark.parametrize("adapter", ["small", "litellm"])
def test_nobody_there(process: ModelProcess, adapter: str) -> None:
    with serving([GOOD]) as server:
        gone = server.base
    result = process.ask(request(adapter, gone), 1.0).result(60.0)
    assert result.answer is None
    assert result.doubtful == 0


@pytest.mark.parametrize("adapter", ["small", "litellm"])
def test_keys_do_not_come_back(process: ModelProcess, adapter: str) -> None:
    """An endpoint may repeat what it was sent, in an error or in an answer."""
    with serving([Status(400, {}, json.dumps({"error": {"message": f"key {SECRET}"}}))]) as server:
        refused = process.ask(request(adapter, server.base), 20.0).result(60.0)
    with serving([Say(f"score = {SECRET}")]) as server:
        answered = process.ask(request(adapter, server.base), 20.0).result(60.0)
    assert answered.answer is not None
    assert answered.answer.text == "score = [key]"
    assert "[key]" in refused.error
    assert SECRET not in repr((refused, answered))


def test_the_longest_answer_comes_through(process: ModelProcess) -> None:
    with serving([Say("\N{SNOWMAN}" * MOST_ANSWER)]) as server:
        result = process.ask(request("small", server.base), 20.0).result(60.0)
    assert result.answer is not None
    assert len(result.answer.text) == MOST_ANSWER


@pytest.mark.parametrize("adapter", ["small", "litellm"])
@pytest.mark.parametrize("drip", [b"", b" "], ids=["silent", "dripping"])
def test_one_that_hangs_ends_at_its_deadline(
    process: ModelProcess, adapter: str, drip: bytes
) -> None:
    with serving([Hang(drip)]) as server:  # last here: what does not end costs its process
        asked = process.ask(request(adapter, server.base), 0.6)
        other = process.ask(replace(request(adapter, server.base), seed=8), 0.6)
        for future in (asked, other):
            result = future.result(60.0)
            assert result.answer is None
            assert "no answer within" in result.error
            assert result.doubtful >= 1
