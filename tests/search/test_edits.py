"""Answers of every shape come to a program, or to a reason; never to something in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.authors.blocks import marked
from gnomon.shadow.search.authors.diffs import MOST_BLOCKS
from gnomon.shadow.search.authors.edits import MOST_ANSWER, edited

PARENT = """\
import math


def score(inflight, ewma_ms):
    if inflight > 8:
        return inflight * ewma_ms
    return (inflight + 1) * ewma_ms
"""
OTHER = "def score(inflight):\n    return inflight\n"
MARKED = """\
import sys

# EVOLVE-BLOCK-START
def run(x):
    return x + 1
# EVOLVE-BLOCK-END

def main():
    print(run(1))
"""


def diff(*pairs: tuple[str, str]) -> str:
    return "".join(
        f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n" for old, new in pairs
    )


@pytest.mark.parametrize(
    "answer",
    [
        OTHER,
        f"```python\n{OTHER}```",
        f"Here it is:\n\n```python\n{OTHER}```\nI hope that it helps.",
        f"~~~\n{OTHER}~~~",
        f"````markdown\n# Plan\n```python\n{OTHER}```\n````",
        f"```markdown\nplan\n```python\n{OTHER}```\n```",
        f"The old one:\n```python\n{PARENT}```\nand mine:\n```python\n{OTHER}```\n",
        f"```\nnot code\n```\n```\n{OTHER}```",
        f"1. so:\n    ```python\n{''.join('    ' + line + chr(10) for line in OTHER.splitlines())}    ```",
        f"{OTHER}```\nand so on",
        f"I changed it.\n\n{OTHER}",
        f"<think>```python\ndef score(x): pass\n``` no</think>\n```python\n{OTHER}```",
        OTHER.replace("\n", "\r\n"),
        f"```python\r\n{OTHER}```".replace("\n", "\r\n"),
    ],
)
def test_a_whole_program_is_read_however_it_is_wrapped(answer: str) -> None:
    assert edited(answer, PARENT).source == OTHER
    assert edited(answer).source == OTHER


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", "no program"),
        ("I cannot help with that.", "no program"),
        ("```\nsome words\n```\nand\n```\nother words\n```", "none of the answer's 2"),
        ("```python\n```", "empty"),
        (f"```python\n{OTHER}", "cut"),
        (f"So:\n```\n{OTHER}", "cut"),
        ("<think>let me see", "cut"),
        (f"```python\n{OTHER}```\nBetter:\n```python\ndef sco", "cut"),
        ("def score(x):\n    return x\0\n", "NUL"),
        ("def score(x):\n    return '\ud800'\n", "no Unicode"),
        ("x" * (MOST_ANSWER + 1), "characters"),
        (PARENT, "unchanged"),
        (f"```python\n{PARENT}\n\n```", "unchanged"),
        (diff(("    if inflight > 8:", "    if inflight > 8:")), "unchanged"),
        (diff(("    if inflight > 9:", "    if inflight > 8:")), "do not stand in the program"),
        (diff(("", "x = 1")), "nothing to search for"),
        (diff(("        return inflight * ewma_ms\n    return", "x")), "do not stand"),
        ("<<<<<<< SEARCH\nimport math\n=======\nimport", "cut"),
        ("<<<<<<< SEARCH\nimport math\n>>>>>>> REPLACE", "no line ======="),
        ("<<<<<<< SEARCH\n<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE", "another begins"),
        (diff(("import math", "x = 1")) * (MOST_BLOCKS + 1), "more than"),
        (
            diff(("import math\n\n", "x = 1"), ("\n\ndef score(inflight, ewma_ms):", "y = 1")),
            "overlap",
        ),
    ],
)
def test_what_gives_no_program_says_why(answer: str, error: str) -> None:
    found = edited(answer, PARENT)
    assert error in found.error
    assert found.source == ""


def test_a_diff_changes_what_it_names_and_nothing_else() -> None:
    answer = "First:\n" + diff(
        ("    if inflight > 8:", "    if inflight > 4:"), ("import math\n", "")
    )
    changed = PARENT.replace("> 8", "> 4").replace("import math\n\n", "\n")
    assert edited(answer, PARENT).source == changed


def test_a_diff_without_a_program_is_refused() -> None:
    assert "without a program" in edited(diff(("a", "b"))).error


def test_lines_that_stand_in_several_places_are_refused() -> None:
    parent = "def score(a):\n    a += 1\n    a += 1\n    return a\n"
    assert "several places" in edited(diff(("    a += 1", "    a += 2")), parent).error
    found = edited(diff(("def score(a):\n    a += 1", "def score(a):\n    a += 2")), parent)
    assert found.source == parent.replace("a += 1", "a += 2", 1)


def test_spaces_that_a_writer_forgot_are_forgiven() -> None:
    parent = "def score(a):\n    if a > 1:  \n        return a\n    return 2\n"
    loose = diff(("if a > 1:\n    return a", "if a > 3:\n    b = a\n    return b"))
    assert edited(loose, parent).source == (
        "def score(a):\n    if a > 3:\n        b = a\n        return b\n    return 2\n"
    )
    deep = diff(
        (
            "            if a > 1:\n                return a",
            "            if a > 3:\n                return 0",
        )
    )
    assert edited(deep, parent).source == (
        "def score(a):\n    if a > 3:\n        return 0\n    return 2\n"
    )


def test_line_ends_of_the_program_stay() -> None:
    parent = PARENT.replace("\n", "\r\n")
    found = edited(diff(("    if inflight > 8:", "    if inflight > 4:\n        # few")), parent)
    assert found.source == parent.replace("> 8:", "> 4:\r\n        # few")
    assert edited(OTHER, parent).source == OTHER.replace("\n", "\r\n")


def test_a_fence_in_a_docstring_ends_no_program() -> None:
    program = 'def score(a):\n    """\n    ```python\n    x\n    ```\n    """\n    return a\n'
    assert edited(f"```python\n{program}```").source == program


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{MARKED.replace('x + 1', 'x + 2')}```",
        "```python\ndef run(x):\n    return x + 2\n```",
        diff(("    return x + 1", "    return x + 2")),
    ],
)
def test_only_the_block_of_a_marked_program_changes(answer: str) -> None:
    assert edited(answer, MARKED).source == MARKED.replace("x + 1", "x + 2")


def test_a_block_within_a_function_keeps_its_place() -> None:
    parent = (
        "def f(x):\n    # EVOLVE-BLOCK-START\n    y = 1\n    # EVOLVE-BLOCK-END\n    return y\n"
    )
    found = edited("```python\ny = 2\n```", parent)
    assert found.source == parent.replace("y = 1", "y = 2")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (MARKED.replace("import sys", "import os"), "only what stands between"),
        (MARKED.replace("print(run(1))", "print(9)"), "only what stands between"),
        (diff(("    print(run(1))", "    print(9)")), "only what stands between"),
        (diff(("import sys", "import os")), "only what stands between"),
        (diff(("# EVOLVE-BLOCK-END\n", "")), "have to stay"),
        (
            diff(
                (
                    "    return x + 1",
                    "    return x\n# EVOLVE-BLOCK-END\nimport os\n# EVOLVE-BLOCK-START",
                )
            ),
            "have to stay",
        ),
        (MARKED.replace("# EVOLVE-BLOCK-END\n", ""), "do not match"),
        ("\n".join(line for line in MARKED.split("\n") if "BLOCK" not in line), "keep them"),
    ],
)
def test_the_rest_of_a_marked_program_is_out_of_reach(answer: str, error: str) -> None:
    assert error in edited(answer, MARKED).error


def test_several_blocks() -> None:
    parent = MARKED + MARKED
    changed = MARKED.replace("x + 1", "x + 3") + MARKED.replace("x + 1", "x - 1")
    assert edited(changed, parent).source == changed
    assert "2 blocks" in edited(OTHER, parent).error
    assert "the program has 2" in edited(MARKED, parent).error


def test_marks_that_do_not_match() -> None:
    assert marked("# EVOLVE-BLOCK-START\n") is None
    assert marked("# EVOLVE-BLOCK-END\n") is None
    assert marked("# EVOLVE-BLOCK-START # EVOLVE-BLOCK-END\n") is None
    assert "do not match" in edited(OTHER, "# EVOLVE-BLOCK-START\n").error


LINES = st.lists(st.sampled_from(["a = 1", "b = 2", "    c", "", "\tx", "=", "# y"]), max_size=12)
ODD = st.text(st.sampled_from(list("`~<>=# \n\r\tdefSEARCHREPLACE:()x\"'\0") + ["\u2028"]))


@given(st.one_of(ODD, st.text()), st.one_of(st.just(PARENT), st.just(MARKED), st.just("")))
def test_no_answer_does_anything_but_give_a_program_or_a_reason(answer: str, parent: str) -> None:
    found = edited(answer, parent)
    assert bool(found.source) != bool(found.error)
    frame = marked(parent)
    if found.source and frame is not None and frame.inside:
        made = marked(found.source)
        assert made is not None
        assert made.fixed == frame.fixed


@given(LINES, LINES, LINES, LINES, LINES)
def test_edits_are_the_same_as_putting_the_parts_together(
    head: list[str], old: list[str], between: list[str], new: list[str], tail: list[str]
) -> None:
    old = [f"first {len(head)}", *old, "last"]  # in one place only
    parent = "\n".join([*head, *old, *between, "unique()", *tail])
    answer = diff(("unique()", "other()"), ("\n".join(old), "\n".join(new)))
    wanted = "\n".join([*head, *([*new] or [""]), *between, "other()", *tail])
    assert edited(answer, parent).source == wanted


@pytest.mark.parametrize(
    "answer",
    [
        "```python\n" * 40_000,
        "```" * 130_000,
        "<<<<<<< SEARCH\n" * 26_000,
        diff(*[("a\n" * 3_000 + "b", "c")] * 40),
        "`" * MOST_ANSWER,
        "\n" * MOST_ANSWER,
    ],
)
def test_hostile_answers_take_linear_time(answer: str) -> None:
    found = edited(answer[:MOST_ANSWER], "a\n" * 60_000)  # quadratic time would end in a time-out
    assert found.error


def test_ten_megabytes_are_refused_unread() -> None:
    assert "10000000 characters" in edited("x" * 10_000_000, PARENT).error
