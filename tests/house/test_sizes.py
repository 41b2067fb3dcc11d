"""How long a function may be: what does not fit a screen is split into named steps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "commands", "demo", "policies", "recorder", "sdk", "shadow")
MOST_LINES = 60


def lengths(source: str) -> Iterator[tuple[str, int]]:
    """Yield every function's name and its lines, from ``def`` to its end without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node) is not None:
            said = node.body[0]
            assert said.end_lineno is not None
            lines -= said.end_lineno - said.lineno + 1
        yield node.name, lines


def test_functions_fit_a_screen() -> None:
    product = [
        *ROOT.glob("*.py"),
        *(path for room in ROOMS for path in (ROOT / room).rglob("*.py")),
    ]
    assert len(product) > 300, "not all of the product is looked at"
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines"
        for path in product
        for name, lines in lengths(path.read_text("utf-8"))
        if lines > MOST_LINES
    ]
    assert not long


def test_lines_are_counted_without_the_docstring() -> None:
    source = (
        "@decorated\n"
        "class A:\n"
        "    @decorated\n"
        "    async def two(\n        self,\n    ):\n"
        '        """Say\n\n        much.\n        """\n'
        "        def one(): ...\n"
    )
    assert sorted(lengths(source)) == [("one", 1), ("two", 4)]
