"""From text to a syntax tree of bounded size, whatever the text is."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import LanguageError

MAX_BYTES = 20_000
MAX_DEPTH = 50
_TRIES = 4
#: Fields of nodes that hold texts, operators and contexts.
_BARE = frozenset({"arg", "attr", "ctx", "id", "kind", "name", "op", "ops", "type_comment"})

_FORBIDDEN = re.compile(r"[^\n\t\x20-\x7e]|__")
#: What the parser only warns of, so that the process's warning filters would decide.
_BACKSLASH = re.compile(r"\\(?!\n)")
_JOINED = re.compile(
    r"\b(?:0[xX][0-9a-fA-F_]+|0[oObB][0-7_]+|\d[\d_.]*(?:[eE]\d[\d_]*)?[jJ]?)"
    r"(?:and|else|for|i[fns]|not|or)"
)


def parse(source: str) -> ast.Module:
    """Return the syntax tree of a source, or raise LanguageError; never anything else."""
    _check_text(source)
    try:
        tree = syntax_tree(source)
    except SyntaxError as error:
        raise LanguageError(f"not Python: {error.msg}", error.lineno or 0) from None
    except (ValueError, MemoryError, RecursionError, OverflowError, SystemError):
        raise LanguageError("not Python that can be parsed; write shorter expressions") from None
    _check_depth(tree)
    return tree


def syntax_tree(source: str) -> ast.Module:
    """Return the tree of any source; raises as ``ast.parse``.

    CPython 3.11 counts the depth of the tree that it makes once for all threads, and where two parse at
    a time it may find the count wrong (SystemError, CPython issue 106905); the next try is right.
    """
    for _ in range(_TRIES):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)


@contextmanager
def within_limits() -> Iterator[None]:
    """Refuse a source for which the interpreter's own limits do not suffice, here or where the caller stands."""
    try:
        yield
    except (SyntaxError, RecursionError, MemoryError):
        raise LanguageError("too deep for this interpreter; write shorter expressions") from None


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes directly below one, in order: all but operators and contexts, which nothing is below.

    The check looks at every tree many times; this takes a third of the time of ``ast.iter_child_nodes``.
    """
    found: list[ast.AST] = []
    for name in _parts(node._fields):
        value = getattr(node, name, None)
        if isinstance(value, list):
            found += [part for part in value if isinstance(part, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(root: ast.AST) -> list[ast.AST]:
    """Return a node and all below it as ``ast.walk`` orders them, operators and contexts apart."""
    found = [root]
    for node in found:
        found += children(node)
    return found


@functools.cache
def _parts(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in fields if name not in _BARE)


def depth(root: ast.AST) -> int:
    """Return the number of statements and expressions on the longest path down from a node."""
    deepest, counted = 0, (ast.expr, ast.stmt)
    stack = [(root, 0)]
    while stack:
        node, above = stack.pop()
        level = above + isinstance(node, counted)
        deepest = max(deepest, level)
        stack += [(child, level) for child in children(node)]
    return deepest


def _check_text(source: str) -> None:
    if len(source) > MAX_BYTES:
        raise LanguageError(f"{len(source)} characters; at most {MAX_BYTES} are allowed")
    found = _FORBIDDEN.search(source)
    if found:
        line = _line(source, found)
        if found.group() == "__":
            raise LanguageError("two underscores in a row are not allowed", line)
        code = ord(found.group())
        raise LanguageError(f"character U+{code:04X}; use printable ASCII, tab and newline", line)
    if found := _BACKSLASH.search(source):
        raise LanguageError("a backslash stands only at the end of a line", _line(source, found))
    if found := _JOINED.search(source):
        raise LanguageError("a number and a word need a space between them", _line(source, found))
    _check_brackets(source)


def _line(source: str, found: re.Match[str]) -> int:
    return source.count("\n", 0, found.start()) + 1


def _check_brackets(source: str) -> None:
    # The parser's own limits depend on version and C stack; a count before it does not.
    level = 0
    for index, character in enumerate(source):
        if character in "([{":
            level += 1
            if level > MAX_DEPTH:
                line = source.count("\n", 0, index) + 1
                raise LanguageError(f"brackets nested deeper than {MAX_DEPTH}", line)
        elif character in ")]}":
            level -= 1


def _check_depth(tree: ast.Module) -> None:
    for statement in tree.body:
        if depth(statement) > MAX_DEPTH:
            raise LanguageError(f"nested deeper than {MAX_DEPTH}", statement.lineno)
