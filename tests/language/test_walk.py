"""The walk over a syntax tree, on which every check of a source stands, against the standard library's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gnomon.sdk.language._text import walk

_SOURCES = sorted((Path(__file__).parents[2] / "sdk" / "language").glob("*.py"))
_BARE = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)


@pytest.mark.parametrize("place", _SOURCES, ids=lambda place: place.stem)
def test_it_finds_what_the_standard_library_finds_in_the_same_order(place: Path) -> None:
    tree = ast.parse(place.read_text("utf-8"))
    assert walk(tree) == [node for node in ast.walk(tree) if not isinstance(node, _BARE)]
