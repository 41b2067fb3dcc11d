"""Scores that are compiled when a test first asks: every worker collects all tests, and runs a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score


@cache
def _compiled(source: str, inputs: tuple[str, ...]) -> Any:
    return compile_score(check(source, inputs))


def score(source: str, kind: Kind) -> Any:
    """Return the compiled score of a source; the same for every test of a process."""
    return _compiled(source, tuple(kind.input_names))


class Scores:
    """Compiled scores by what their sources are found under.

    Args:
        kind: whose inputs they read.
        sources: a list, or a mapping with names.
    """

    def __init__(self, kind: Kind, sources: Any) -> None:
        self._kind, self._sources = kind, sources

    def __getitem__(self, key: Any) -> Any:
        return score(self._sources[key], self._kind)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sources)
