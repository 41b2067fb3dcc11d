"""The log: chained, exclusive, tolerant of a cut and of nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.search.lines import Final, Scored
from gnomon.shadow.search.log import RunLog, proposals, read_log
from gnomon.shadow.search.records import Outcome, Record

CONFIG = {"seed": 1, "budget": {"evaluations": 3}}


def record(step: int, outcome: Outcome = Outcome.OK) -> Record:
    fine = outcome is Outcome.OK
    return Record(
        step=step,
        program=f"{step:016x}",
        key=f"{step:016x}",
        source=f"def score(noise):\n    return {step}.5\n",
        operator="seed:one",
        parents=("aa", "bb") if step else (),
        nodes=7,
        outcome=outcome,
        score=0.1 * step if fine else math.nan,
        segments=(0.1, 1 / 3) if fine else (),
    )


def written(folder: Path, records: list[Record]) -> Path:
    with RunLog(folder, CONFIG) as log:
        for each in records:
            log.append(each)
    return folder / "log.jsonl"


def test_records_come_back_as_they_went(tmp_path: Path) -> None:
    before = [record(0), record(1), record(2, Outcome.TIMEOUT), record(3)]
    path = written(tmp_path, before)
    after = list(proposals(path))
    assert [after[0], after[1], after[3]] == [before[0], before[1], before[3]]
    assert after[2].outcome is Outcome.TIMEOUT
    assert math.isnan(after[2].score)


def test_same_content_has_the_same_hash_and_other_content_another(tmp_path: Path) -> None:
    hashes = []
    for name, records in (("a", [record(0)]), ("b", [record(0)]), ("c", [record(1)])):
        with RunLog(tmp_path / name, CONFIG) as log:
            for each in records:
                log.append(each)
            hashes.append(log.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_cut_last_line_is_written_again(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0), record(1)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with RunLog(tmp_path, CONFIG, resume=True) as log:
        assert [each.step for each in log.records] == [0]
        log.append(record(1))
    assert path.read_bytes() == whole


def test_nothing_of_a_cut_line_stays_behind_a_shorter_one(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0), replace(record(1), source="long " * 200)])
    path.write_bytes(path.read_bytes()[:-5])
    with RunLog(tmp_path, CONFIG, resume=True) as log:
        log.append(record(1))
    assert [each.source for each in proposals(path)] == [record(0).source, record(1).source]


@given(data=st.data())
def test_no_edit_of_a_complete_line_goes_unseen(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.mktemp("log"), [record(0), record(1), record(2)])
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] = data.draw(st.integers(0, 255).filter(lambda b: b not in {content[place]}))
    path.write_bytes(bytes(content))
    with pytest.raises(TraceError, match=r"log\.jsonl"):
        read_log(path)


def test_a_line_taken_out_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, [record(0), record(1), record(2)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(TraceError, match="line 3 does not follow"):
        read_log(path)


def test_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, [])
    header = json.loads(path.read_text()) | {"version": 3}
    path.write_text(json.dumps(header) + "\n")
    with pytest.raises(TraceError, match="log version 3, this Gnomon reads 2") as error:
        read_log(path)
    assert "\n" not in str(error.value)


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG), pytest.raises(ConfigurationError, match="in use by another run"):
        RunLog(tmp_path, CONFIG, resume=True)
    with RunLog(tmp_path, CONFIG, resume=True) as log:
        assert log.records == []


def test_an_old_run_is_not_overwritten(tmp_path: Path) -> None:
    written(tmp_path, [record(0)])
    with pytest.raises(ConfigurationError, match="--resume"):
        RunLog(tmp_path, CONFIG)
    with pytest.raises(ConfigurationError, match="--seed 1, not 2; resume with --seed 1, or name"):
        RunLog(tmp_path, CONFIG | {"seed": 2}, resume=True)
    RunLog(tmp_path, CONFIG, resume=True).close()  # the refusals released the folder


WHOLE: dict[str, Any] = {
    "budget": {"evaluations": 24, "proposals": 0},
    "incumbent": "def score(inflight): return inflight",
    "layers": ["rlimits", "seccomp"],
    "racing": True,
    "scales": {"weight": 1.0},
    "subject": {"hook": "router.pick", "trace": "t" * 64},
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"budget": {"evaluations": 14, "proposals": 0}},
            "--budget 24, not 14; resume with --budget 24",
        ),
        ({"incumbent": ""}, "another incumbent (--incumbent); resume with the same one"),
        ({"scales": {"weight": 2.0}}, "another trace (--traces)"),
        ({"subject": WHOLE["subject"] | {"trace": "u"}, "scales": {}}, "another trace (--traces)"),
        ({"subject": WHOLE["subject"] | {"hook": "x"}}, "--hook router.pick, not x"),
        ({"kind_version": 2}, "kind_version=None, not 2"),
        ({"racing": False}, "made with --racing, not --no-racing; resume with --racing"),
        ({"layers": ["rlimits"]}, "another isolation (--isolation, or another machine)"),
        ({"authors": {"ensemble": {"temperature": 1.0}}}, "another set of models (--model"),
        (
            {
                "authors": {"written": {"prompts": "x"}},
                "subject": WHOLE["subject"] | {"trace": "u"},
            },
            "another trace (--traces)",
        ),
        (
            {"kind_version": "\x1b[2J" + "x" * 99},
            "kind_version=None, not \N{REPLACEMENT CHARACTER}[2J",
        ),
    ],
)
def test_another_configuration_is_named_by_its_option(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    RunLog(tmp_path, WHOLE).close()
    with pytest.raises(ConfigurationError) as refused:
        RunLog(tmp_path, WHOLE | change, resume=True)
    assert says in str(refused.value)
    assert "or name another folder with --out" in str(refused.value)
    assert "\x1b" not in str(refused.value) and len(str(refused.value)) < 300 + len(str(tmp_path))
    assert "{" not in str(refused.value) and "def score" not in str(refused.value)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no log of a run to resume"):
        RunLog(tmp_path, CONFIG, resume=True)


def test_trailing_evaluator_errors_get_another_go(tmp_path: Path) -> None:
    broken = Outcome.EVALUATOR_ERROR
    path = written(tmp_path, [record(0), record(1, broken), record(2), record(3, broken)])
    with RunLog(tmp_path, CONFIG, resume=True) as log:
        assert [each.step for each in log.records] == [0, 1, 2]
        assert len(list(proposals(path))) == 3
        log.append(record(3))
    assert [each.outcome for each in proposals(path)] == ["ok", broken, "ok", "ok"]


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    with RunLog(tmp_path, CONFIG) as log:
        log.finish(
            Final(
                "time",
                "x",
                (Scored("evolved", "x", 1.0, math.nan, (0.5,)),),
                Scored("incumbent", "i", 2.0, 3.0),
            )
        )
    with RunLog(tmp_path, CONFIG, resume=True) as log:
        assert log.final is not None
        assert (log.final.winner, log.final.incumbent) == ("x", Scored("incumbent", "i", 2.0, 3.0))
        assert math.isnan(log.final.finalists[0].validation)
