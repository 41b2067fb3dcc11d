"""Reading a problem folder: what is read, what is said of what is not, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.settings import ProblemSettings, read_settings
from gnomon.shadow.search.authors.blocks import Marked, cut, marked

from .conftest import EVALUATOR, PROGRAM, Write

START, END = "# EVOLVE-BLOCK-START\n", "# EVOLVE-BLOCK-END\n"


def test_a_folder_is_read(stock: Any) -> None:
    packing = stock("packing")
    assert packing.name == "packing"
    assert packing.settings.thresholds == (0.6, 0.8)
    assert packing.settings.timeout_s == 20.0
    assert packing.settings.statement.startswith("Pack items")
    assert packing.settings.most_characters == 6000
    assert packing.settings.ignored == (
        "diff_based_evolution",
        "evaluator.parallel_evaluations",
        "llm.primary_model",
        "llm.temperature",
        "max_iterations",
    )
    words = stock("words")
    assert words.settings.features == ("length", "complexity")
    assert not words.settings.cascade
    assert len(words.marked.inside) == 2
    assert stock("valley").settings == ProblemSettings()


def test_the_digest_names_program_evaluator_and_settings(write: Write) -> None:
    first = write()
    assert write().digest == first.digest
    others = [
        write(PROGRAM + "\n"),
        write(PROGRAM, EVALUATOR + "\n"),
        write(config="max_code_length: 5\n"),
    ]
    assert len({first.digest, *(each.digest for each in others)}) == 4


@pytest.mark.parametrize("place", ["evaluator/evaluator.py", "eval/evaluator.py"])
def test_the_evaluator_may_lie_where_skydiscover_puts_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir()
    (tmp_path / place).write_text(EVALUATOR)
    (tmp_path / "initial_program.py").write_text(PROGRAM)
    assert Problem.read(tmp_path).evaluator == tmp_path / place


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        Problem.read(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="has no initial_program.py"):
        Problem.read(tmp_path)
    (tmp_path / "initial_program.py").write_text(PROGRAM)
    with pytest.raises(ConfigurationError, match="has no evaluator"):
        Problem.read(tmp_path)
    (tmp_path / "evaluator.py").write_text(EVALUATOR)
    assert Problem.read(tmp_path).program == PROGRAM


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (START + "x = 1\n", "line 1: this EVOLVE-BLOCK-START has no EVOLVE-BLOCK-END"),
        ("x = 1\n" + END, "line 2: EVOLVE-BLOCK-END without"),
        (START + "x = 1\n" + START + END, "line 3: EVOLVE-BLOCK-START within the block of line 1"),
        ("def f(:\n", "no Python program"),
        ("x = '\0'\n", "no Python program"),
        ("x = " + "(" * 500 + ")" * 500, "no Python program"),
    ],
)
def test_programs_that_are_none_are_refused(write: Write, program: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        write(program)
    assert "\n" not in str(caught.value)


def test_files_are_utf8_and_of_a_size(write: Write, tmp_path: Path) -> None:
    folder = write().folder
    (folder / "initial_program.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigurationError, match="no UTF-8 .byte 5 is 0xe9"):
        Problem.read(folder)
    (folder / "initial_program.py").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="longer than 1048576 bytes"):
        Problem.read(folder)


def test_what_is_no_file_is_not_waited_for(write: Write) -> None:
    folder = write().folder
    for name in ("config.yaml", "initial_program.py"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(ConfigurationError, match=f"{name} cannot be read .no regular file"):
            Problem.read(folder)


def test_line_ends_stay(write: Write) -> None:
    program = PROGRAM.replace("\n", "\r\n")
    assert write(program).program == program


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("evaluator: {timeout: -1}", "evaluator.timeout is -1; give seconds above 0"),
        ("evaluator: {timeout: .nan}", "evaluator.timeout is nan"),
        ("evaluator: {cascade_thresholds: high}", "give a list of numbers"),
        ("evaluator: {cascade_thresholds: [a]}", "give a list of numbers"),
        ("evaluator: {cascade_evaluation: 1}", "give true or false"),
        ("evaluator: {evaluator_args: [1]}", "give names with"),
        ("evaluator: {evaluator_args: {a: .inf}}", "give names with"),
        ("database: {feature_dimensions: [1]}", "give a list of names"),
        ("max_code_length: 0", "give a whole number above 0"),
        ("prompt: {system_message: 3}", "give a text"),
        ("- a\n- b", "holds no settings by name"),
        ("a: [", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("language: rust", "for programs in 'rust'"),
        ("file_suffix: .rs", "searched in Python"),
    ],
)
def test_settings_that_mean_nothing_are_refused(write: Write, config: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        write(config=config)
    assert "\n" not in str(caught.value)


def test_settings_are_those_of_both_frameworks(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "max_solution_length: 60000\ndiff_based_generation: false\nmonitor: {port: 1}\n"
    )
    settings = read_settings(path)
    assert settings.most_characters == 60000
    assert settings.ignored == ("diff_based_generation", "monitor.port")
    path.write_text("")
    assert read_settings(path) == ProblemSettings()
    path.write_text("prompt: {system_message: system_message}\n")  # the name of a template
    assert read_settings(path).statement == ""
    assert read_settings(tmp_path / "none.yaml") == ProblemSettings()


LINES = st.lists(
    st.sampled_from([START, END, "x = 1\n", "#EVOLVE-BLOCK-START\n", "    " + END, "\r\n", "é\n"])
)


@given(LINES, st.sampled_from(["", "last line"]))
def test_a_source_is_the_sum_of_its_parts(lines: list[str], last: str) -> None:
    source = "".join(lines) + last
    found = marked(source)
    if found is None:
        with pytest.raises(ValueError, match="line "):
            cut(source)
        return
    assert found.joined(found.inside) == source
    data = source.encode()
    assert [data[a:b].decode() for a, b in found.spans()] == list(found.inside)
    assert not any("EVOLVE-BLOCK" in block for block in found.inside)


@given(st.lists(st.lists(st.sampled_from(["x = 1\n", "é = 2\n"])), min_size=1, max_size=3))
def test_blocks_can_be_exchanged(blocks: list[list[str]]) -> None:
    texts = tuple("".join(block) for block in blocks)
    fixed = (START, *[END + "y = 3\n" + START] * (len(texts) - 1), END)
    source = Marked(fixed, texts).joined(texts)
    assert cut(source) == Marked(fixed, texts)
    other = cut(source).joined(["z = 4\n"] * len(texts))
    assert cut(other).fixed == fixed


def test_the_marks_are_those_of_the_package() -> None:
    code_utils = pytest.importorskip("openevolve.utils.code_utils", reason="openevolve is missing")
    source = (
        f"a\n{START}b\n{END}c\n  {START}d\n  {END}// EVOLVE-BLOCK-START\ne\n#EVOLVE-BLOCK-END\n"
    )
    theirs = [block for _, _, block in code_utils.parse_evolve_blocks(source)]
    if len(theirs) < 3:
        pytest.skip("an openevolve that knows fewer comment signs")
    assert [block.rstrip("\n") for block in cut(source).inside] == theirs


def test_reading_runs_nothing(write: Write, tmp_path: Path) -> None:
    write("import pathlib; pathlib.Path('ran').touch()\n", "import os; os._exit(7)\n")
    assert not Path("ran").exists()
    assert os.getpid()
