"""Functions of the service as text: taken over only where the text surely means the same."""

from __future__ import annotations

import functools
import linecache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk._inline import inlined
from gnomon.sdk._reader import Readers, extender
from gnomon.sdk.kind import Feature

SCALE = 10


class Thing:
    def __init__(self, a: Any = 1.0, b: Any = 2.0) -> None:
        self.a, self.b = a, b
        self.__own = 3

    mangled = staticmethod(lambda thing: (thing.__own,))


def named(item: Thing) -> tuple[Any, ...]:
    """Return both."""
    return (item.a, item.b)


pair = (lambda item: item.a, lambda item: item.b)


def value(function: Any, item: Any) -> Any:
    found = inlined(function, ("x",), "g_")
    assert found is not None
    return eval(found.text, {**found.space, "__builtins__": {}}, {"x": item})


@pytest.mark.parametrize(
    "function",
    [
        lambda item: (item.a, item.b),
        lambda item: item.a * SCALE + len(str(item.b)),
        lambda item: (float(item.a), -item.b if item.a else abs(item.b)),
        lambda item: named(item),
        named,
        *pair,
    ],
)
def test_an_expression_means_what_the_function_does(function: Any) -> None:
    thing = Thing(3, 4.5)
    assert value(function, thing) == function(thing)


def with_more() -> Any:
    around = 3
    return [
        lambda item: item.a + around,
        lambda item, spare=1: item.a,
        lambda *items: items[0],
        lambda item, *, key=None: item,
        lambda item: [part for part in item],
        lambda item: (lambda: item)(),  # noqa: PLC3002
        lambda item: f"{item}",
        lambda item: eval("item"),
        lambda item: undefined(item),  # type: ignore[name-defined] # noqa: F821
        lambda item: (kept := item),  # noqa: F841
        Thing.mangled,
        functools.partial(named),
        len,
        Thing,
    ]


@pytest.mark.parametrize("function", with_more())
def test_anything_else_is_called(function: Any) -> None:
    assert inlined(function, ("x",), "g_") is None


def test_statements_and_generators_are_called() -> None:
    def two(item: Any) -> Any:
        item = item.a
        return item

    def generates(item: Any) -> Any:
        yield item

    assert inlined(two, ("x",), "g_") is None
    assert inlined(generates, ("x",), "g_") is None


def test_a_source_that_changed_since_is_not_taken_for_it(tmp_path: Any) -> None:
    path = tmp_path / "module.py"
    path.write_text("f = lambda item: item.a\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102
    assert inlined(space["f"], ("x",), "g_") is not None
    path.write_text("f = lambda item: item.b\n")
    linecache.checkcache(str(path))
    assert inlined(space["f"], ("x",), "g_") is None
    path.write_text("f = lambda item: (\n")
    linecache.checkcache(str(path))
    assert inlined(space["f"], ("x",), "g_") is None
    path.unlink()
    linecache.checkcache(str(path))
    assert inlined(space["f"], ("x",), "g_") is None


def test_ones_and_trues_differ(tmp_path: Any) -> None:
    path = tmp_path / "module.py"
    path.write_text("f = lambda item: (item.a, 1)\n")
    space: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102
    path.write_text("f = lambda item: (item.a, True)\n")
    linecache.checkcache(str(path))
    assert inlined(space["f"], ("x",), "g_") is None


TWO = (Feature("a", "1", "", 0.0, 9.0), Feature("b", "1", "", -float("inf"), 5.0))
READINGS = {
    "known": lambda item: (item.a, item.b),
    "called": lambda item: tuple(vars(item)[name] for name in "ab"),
}


@given(st.lists(st.tuples(st.floats(), st.integers()), min_size=1, max_size=70), st.data())
def test_a_reader_written_out_reads_as_the_loop_does(rows: Any, data: st.DataObject) -> None:
    readers = Readers(READINGS[data.draw(st.sampled_from(list(READINGS)))], 2)
    items = [Thing(*row) for row in rows]
    written = readers.written(len(items))(items)
    assert repr(written) == repr(readers.ready(0)(items))
    extend = extender(TWO, readers.flat)
    full, inside = extend(written, [5] * len(items), 7, lambda: 0.25)
    assert inside == all(0.0 <= a <= 9.0 and b <= 5 for a, b in rows)
    wanted = [(float(a), float(b), 2.0, 0.25) for a, b in rows]
    assert repr(full) == repr(tuple(x for row in wanted for x in row))


def test_a_written_reader_refuses_another_number_of_items() -> None:
    readers = Readers(READINGS["known"], 2)
    assert readers.flat
    read = readers.written(2)
    assert readers.ready(2) is read
    for items in ([Thing()], [Thing()] * 3):
        with pytest.raises(ValueError, match="unpack"):
            read(items)


@pytest.mark.parametrize("row", [(1.0,), (1.0, 2.0, 3.0)])
def test_rows_of_another_length_are_refused(row: Any) -> None:
    readers = Readers(lambda item: item(), 2)
    assert not readers.flat
    seen = readers.written(2)([lambda: (1.0, 2.0), lambda: row])
    with pytest.raises(ValueError, match="unpack"):
        extender(TWO, flat=False)(seen, [1, 1], 2, lambda: 0.5)


def test_a_kind_without_features_of_its_own() -> None:
    readers = Readers(lambda item: (), 0)
    seen = readers.written(2)(["a", "b"])
    assert extender((), readers.flat)(seen, [1, 0], 2, lambda: 0.5) == ((1.0, 0.5, 2.0, 0.5), True)
