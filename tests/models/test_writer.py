"""A brief becomes a call, and what comes back a reply with an honest cost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.models import writer as writer_module
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.models.prices import Price, Prices, most_tokens
from gnomon.shadow.models.writer import ModelWriter, plain
from gnomon.shadow.search.authors.edits import read
from gnomon.shadow.search.records import Assignment, Brief, Outcome, Prompt, Record, Reply

from .server import Cut, Raw, Say, Script, Server, Status, Step, serving

NAME = "openai-compatible:m"
PROGRAM = "def score(inflight):\n    return inflight * 1.5\n"
PARENT = "def score(inflight):\n    return inflight + 1.0\n"
PROMPT = Prompt.of(("system", "be brief"), ("user", "improve it"))
PRICE = Price(1.0, 4.0)


def assignment(**changes: object) -> Assignment:
    parent = Record(0, "p", "k", PARENT, "seed:x", (), 5, Outcome.OK, 1.0)
    brief = Brief("write:full", PROMPT, NAME, parents=("p",), max_tokens=256, seed=3)
    return Assignment(1, replace(brief, **changes), parent)  # type: ignore[arg-type]


@contextmanager
def writing(
    script: Script | list[Step], folder: Path | None = None, timeout: float = 30.0
) -> Iterator[tuple[ModelWriter, Server]]:
    with serving(script) as server:
        options = ModelOptions((Model(NAME, base=server.base),), timeout=timeout, cache=folder)
        with closing(ModelWriter(options, read, Prices({NAME: PRICE}), own={})) as writer:
            yield writer, server


def reply_to(*steps: Step) -> Reply:
    with writing(list(steps)) as (writer, _):
        return writer.submit(assignment()).result(60.0)


def test_a_program_comes_back_with_what_it_cost() -> None:
    reply = reply_to(Say(f"Here you are:\n```python\n{PROGRAM}```\n", usage=(20, 30)))
    assert reply == Reply(PROGRAM, "", (20 + 4 * 30) / 1e6, 20, 30, NAME)


def test_a_diff_is_applied_to_the_parent() -> None:
    diff = (
        "<<<<<<< SEARCH\n    return inflight + 1.0\n=======\n    return inflight\n>>>>>>> REPLACE"
    )
    reply = reply_to(Say(diff))
    assert reply.source == "def score(inflight):\n    return inflight\n"


@pytest.mark.parametrize(
    ("steps", "words", "cost"),
    [
        ([Say("I would rather not.")], "", (100 + 200) / 1e6),
        ([Say("x" * 10, finish="length")], "cut after 256 tokens", (100 + 200) / 1e6),
        ([Say("", finish="content_filter")], "refused: content filter", (100 + 200) / 1e6),
        ([Say("", choices=False)], "said nothing (finish: empty)", (100 + 200) / 1e6),
        ([Status(401, {}, "no")], "HTTP 401", 0.0),
        ([Status(429, {"Retry-After": "9999"})], "HTTP 429", 0.0),
        ([Cut()], "cut off", None),
        ([Raw(b"?")], "no JSON", None),
        ([Say("x" * 500_000)], "characters", None),
    ],
)
def test_what_is_no_program_is_paid_for_all_the_same(
    steps: list[Step], words: str, cost: float | None
) -> None:
    reply = reply_to(*steps)
    assert reply.source == ""
    assert words in reply.error
    assert reply.error
    assert reply.cost == (cost if cost is None else pytest.approx(cost))


def test_a_cost_is_not_known_after_an_attempt_that_may_be_charged() -> None:
    reply = reply_to(Cut(), Say(PROGRAM))
    assert (reply.source, reply.cost) == (PROGRAM, None)


@pytest.mark.parametrize(
    "usage", [None, (10**9, 10**9), (-1, 5), {"prompt_tokens": "many"}, "none", {"cost": 1e9}]
)
def test_an_endpoint_that_counts_wrongly_cannot_make_it_dearer_than_was_set_aside(
    usage: object, caplog: pytest.LogCaptureFixture
) -> None:
    with writing([Say(PROGRAM, usage=usage)]) as (writer, _):
        reply = writer.submit(assignment()).result(60.0)
        assert (writer.answers, writer.doubted) == (1, 1)
    assert "1 of 1 answers of models came without a count of tokens" in caplog.text
    assert reply.source == PROGRAM
    assert reply.cost is not None
    assert 0.0 < reply.cost <= (most_tokens(PROMPT.messages) + 4 * 256) / 1e6 + 1e-12


def test_words_of_an_endpoint_become_plain() -> None:
    reply = reply_to(Status(400, {}, "\x1b[31mred\x00\n\n" + "\N{SNOWMAN}" * 500))
    assert reply.error.isascii()
    assert reply.error.isprintable()
    assert len(reply.error) <= 200
    assert plain("a\n\tb \x7f") == "a b ?"


def test_a_known_answer_costs_nothing_and_asks_nobody(tmp_path: Path) -> None:
    with writing([Say(PROGRAM, usage=(20, 30))], tmp_path) as (writer, server):
        first = writer.submit(assignment()).result(60.0)
        again = writer.submit(assignment()).result(60.0)
        other = writer.submit(assignment(seed=4)).result(60.0)
    assert again == Reply(PROGRAM, "", 0.0, 0, 0, NAME, cached=True)
    assert (first.cached, other.cached, len(server.seen)) == (False, False, 2)
    assert (writer.answers, writer.known) == (2, 1)


def test_what_is_no_answer_is_not_kept(tmp_path: Path) -> None:
    with writing([Status(401), Say(""), Say(PROGRAM)], tmp_path) as (writer, server):
        replies = [writer.submit(assignment()).result(60.0) for _ in range(3)]
    assert [bool(reply.source) for reply in replies] == [False, False, True]
    assert len(server.seen) == 3


def test_closing_ends_what_is_being_written() -> None:
    with writing([Say(PROGRAM)]) as (writer, server):
        writer.submit(assignment()).result(60.0)
        server._script = lambda *_: Say(PROGRAM) if server.closing.wait(60.0) else Cut()
        futures = [writer.submit(assignment(seed=seed)) for seed in range(3)]
        writer.close()
        assert not wait(futures, 60.0).not_done
        server.closing.set()
    assert all(future.result().cost is None for future in futures)


def test_litellm_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gnomon\[llm\]'"):
        ModelWriter(ModelOptions((Model("gpt-4o"),)), read, Prices({}, {}))
