"""Sources as bytes with a tree beside them: changes replace stretches of text and leave all else as it is.

A tree that is printed again loses comments, layout and the marks; so nothing here is ever printed but the
expressions that change.
"""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ...sdk.errors import LanguageError
from ...sdk.language import syntax_tree

_LINE = re.compile(rb"\r\n|\r|\n")  # what ends a line for Python's own parser
_KEPT = 64


class Span(NamedTuple):
    """A stretch of a source, in bytes of UTF-8; the end is not in it."""

    start: int
    end: int


class Edit(NamedTuple):
    """A stretch and the text that takes its place."""

    start: int
    end: int
    text: str


@lru_cache(maxsize=_KEPT)
def tree_of(source: str) -> ast.Module:
    """Return the tree of a source, which nobody may change.

    Raises:
        LanguageError: it is no Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and the like: the program's own matter
            return syntax_tree(source)
    except SyntaxError as error:
        raise LanguageError(error.msg or "no Python", error.lineno or 0) from error
    except ValueError as error:
        raise LanguageError(f"no Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise LanguageError("too deep for this interpreter; write shorter expressions") from error


class Text:
    """A source whose nodes can be found in it.

    Args:
        source: that parses.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = tree_of(source)
        self.data = source.encode()
        self._lines = [0, *(found.end() for found in _LINE.finditer(self.data)), len(self.data)]

    def span(self, node: ast.AST) -> Span:
        """Return where an expression or a statement stands."""
        return Span(
            self._lines[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self._lines[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def lines(self, span: Span) -> Span | None:
        """Return the whole lines of a statement, or None when something else stands on them."""
        first = self._lines[bisect_right(self._lines, span.start) - 1]
        last = self._lines[bisect_left(self._lines, span.end)]
        before, after = self.data[first : span.start], self.data[span.end : last].strip()
        if before.strip() or (after and not after.startswith(b"#")):
            return None
        return Span(first, last)

    def text(self, span: Span) -> str:
        """Return what stands there."""
        return self.data[span.start : span.end].decode()

    def edited(self, edits: Sequence[Edit]) -> str:
        """Return the source after edits that do not overlap, in any order."""
        data, at, parts = self.data, 0, []
        for edit in sorted(edits):
            parts += [data[at : edit.start], edit.text.encode()]
            at = edit.end
        return b"".join((*parts, data[at:])).decode()
