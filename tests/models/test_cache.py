"""Answers on disk: found again, bounded, and believed only when they are what was written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.models.cache import Cache, _digest, key_of
from gnomon.shadow.models.chat import Answer, Request

REQUEST = Request("m", "compatible", (("user", "hello"),), 0.5, 100, 3, "http://h/v1", "SOME_KEY")
ANSWER = Answer("text \N{SNOWMAN} \ud800", 10, None, "stop")


def entry(folder: Path, request: Request = REQUEST) -> Path:
    return folder / key_of(request)[:2] / f"{key_of(request)}.json"


def test_what_was_put_is_found_by_another_run(tmp_path: Path) -> None:
    Cache(tmp_path).put(REQUEST, ANSWER)
    assert Cache(tmp_path).get(REQUEST) == ANSWER


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"adapter": "completion"},
        {"messages": (("user", "hello "),)},
        {"messages": (("system", "hello"),)},
        {"temperature": None},
        {"max_tokens": 101},
        {"seed": 4},
        {"base": "http://other/v1"},
    ],
)
def test_another_question_has_another_answer(tmp_path: Path, change: dict[str, object]) -> None:
    cache = Cache(tmp_path)
    cache.put(REQUEST, ANSWER)
    assert cache.get(replace(REQUEST, **change)) is None  # type: ignore[arg-type]


def test_keys_are_no_part_of_it(tmp_path: Path) -> None:
    Cache(tmp_path).put(REQUEST, ANSWER)
    assert Cache(tmp_path).get(replace(REQUEST, key_env="OTHER")) == ANSWER
    assert b"SOME_KEY" not in entry(tmp_path).read_bytes()


GOOD = {"format": 2, "key": key_of(REQUEST), "text": "x", "tokens": [1, 1], "finish": "stop"}
GOOD["digest"] = _digest(GOOD)
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut": json.dumps(GOOD).encode()[:-5],
    "no JSON": b"\x00\xff",
    "deep": b"[" * 200_000,
    "huge": json.dumps({**GOOD, "text": "x" * 3_000_000}).encode(),
    "a list": b"[]",
    "of another question": json.dumps({**GOOD, "key": "0" * 64}).encode(),
    "of a later version": json.dumps({**GOOD, "format": 3}).encode(),
    "without words": json.dumps({**GOOD, "text": ""}).encode(),
    "with a number for words": json.dumps({**GOOD, "text": 1}).encode(),
    "with words for numbers": json.dumps({**GOOD, "tokens": ["1", 1]}).encode(),
    "with three numbers": json.dumps({**GOOD, "tokens": [1, 1, 1]}).encode(),
    "with a truth for a number": json.dumps({**GOOD, "tokens": [True, 1]}).encode(),
    "with other words": json.dumps({**GOOD, "text": "y"}).encode(),
    "without an end": json.dumps({**GOOD, "finish": None}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_changed_is_no_answer_and_is_replaced(tmp_path: Path, name: str) -> None:
    cache, path = Cache(tmp_path), entry(tmp_path)
    path.parent.mkdir()
    path.write_bytes(HOSTILE[name])
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, ANSWER)
    assert cache.get(REQUEST) == ANSWER


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    cache, path = Cache(tmp_path / "cache"), entry(tmp_path / "cache")
    path.parent.mkdir()
    if kind == "link":
        (tmp_path / "elsewhere").write_text(json.dumps(GOOD))
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert cache.get(REQUEST) is None


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most=20_000)
    requests = [replace(REQUEST, seed=seed) for seed in range(60)]
    for age, request in enumerate(requests):
        cache.put(request, replace(ANSWER, text="x" * 1000))
        os.utime(entry(tmp_path, request), (age, age))
    kept = [cache.get(request) is not None for request in requests]
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 20_000
    assert any(kept)
    assert kept == sorted(kept)


def test_nothing_but_its_own_entries_is_ever_taken_away_or_written_over(tmp_path: Path) -> None:
    """The folder may be any folder, and lead to any other."""
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    shelf = folder / key_of(REQUEST)[:2]
    others = [elsewhere / "letter.txt", elsewhere / f"{'0' * 64}.json", folder / "ab" / "notes.txt"]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("x" * 50_000)
        os.utime(other, (0, 0))
    shelf.symlink_to(elsewhere)
    cache = Cache(folder, most=20_000)
    for seed in range(40):
        cache.put(replace(REQUEST, seed=seed), replace(ANSWER, text="x" * 1000))
    assert all(other.exists() for other in others)
    assert sorted(elsewhere.iterdir()) == sorted(others[:2])


def test_a_folder_that_went_away_costs_nothing_but_the_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    cache.put(REQUEST, ANSWER)
    assert cache.get(REQUEST) is None


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="name another one with --model-cache"):
        Cache(tmp_path / "file")


@given(st.text(min_size=1, max_size=200), st.none() | st.integers(0, 10**9), st.text(max_size=40))
def test_every_answer_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, text: str, tokens: int | None, finish: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "answers"
    answer = Answer(text, tokens, tokens, finish)
    Cache(folder).put(REQUEST, answer)
    assert Cache(folder).get(REQUEST) == answer
