"""What the commands print for people: nothing cut, whatever it is printed to, and nothing unsaid."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from gnomon.commands._common import console, folded, rich_part
from gnomon.policies.rollout.ledger import Ledger
from gnomon.shadow.report import shown

from .conftest import Folder
from .test_bad_input import BREAK, SHIP, broken, place

__all__ = ["broken", "place"]
DOWN = "127.0.0.1:1"
LONG = "no-spaces-" * 30 + "end"


def on_a_terminal(*words: str, columns: int = 80) -> str:
    """Return what a command prints on a terminal of that width, without colours and frames."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gnomon", *words], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # the other end is closed: a terminal has no end of file
        pass
    finally:
        os.close(ours)
        process.wait(30)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


def joined(text: str) -> str:
    """Return the letters of a table that was broken over lines."""
    return "".join(re.findall(r"[A-Za-z0-9_.=/-]", text))


def test_what_is_not_a_terminal_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "path [x]", title="a [b] c")
    table.add_row("n" * 200, f"[y]{LONG}")
    console().print(folded(table))
    said = capsys.readouterr().out
    assert f"[y]{LONG}" in said and "n" * 200 in said
    assert "path [x]" in said and "a [b] c" in said


def test_the_path_of_a_damaged_file_is_whole(place: Folder, broken: Path) -> None:
    store = broken / "junk"
    paths = [str(path.relative_to(store)) for path in store.glob("decisions/**/*.parquet")]
    piped = place.run("traces", store).stdout
    narrow = joined(on_a_terminal("traces", str(store), columns=60))
    assert paths
    for path in paths:
        assert path in piped
        assert joined(path) in narrow.replace("damaged", "")
    assert "junk" in BREAK


def test_replay_shows_every_column_on_a_narrow_terminal(store: Path) -> None:
    words = ("replay", str(store), "--replicas", "2", "--policy", "baseline:least_outstanding")
    said = on_a_terminal(*words, columns=60)
    assert not re.search(r"\S…", said)  # an interval's stands alone
    assert "least_outstanding" in joined(said)


def test_entries_of_a_ledger_are_whole(place: Folder) -> None:
    book = Ledger(Path("long.db"))
    book.append("verdict", "someone", "s" * 64, {"summary": LONG})
    book.close()
    listed = place.run("audit", "list", "--ledger", "long.db").stdout
    assert LONG in listed.replace("\n    ", "")  # wrapped, and nothing cut
    said = on_a_terminal("audit", "list", "--ledger", "long.db")
    assert LONG in "".join(line.strip() for line in said.splitlines())


def test_a_subject_that_nothing_led_to(place: Folder) -> None:
    words = ("audit", "explain", "0123456789", "--ledger", "ledger.db")
    assert "nothing here led to 0123456789" in place.refused(*words, code=1)
    assert place.run(*words).stdout == ""
    assert place.json(*words, code=1) == []


def test_a_kind_that_no_entry_has(place: Folder) -> None:
    words = ("audit", "list", "--kind", "nope", "--ledger", "ledger.db")
    done = place.run(*words)
    assert (done.exit_code, done.stdout) == (0, "the ledger holds no entries of kind nope\n")
    assert place.json(*words) == []


@pytest.mark.parametrize("spoil", ["empty", "cut", "flipped", "signature"])
def test_a_damaged_bundle_is_named_with_the_remedy(place: Folder, spoil: str) -> None:
    data = bytearray(Path("mine.bundle").read_bytes())
    where = {"flipped": len(data) // 2, "signature": len(data) - 10}
    if spoil in where:
        data[where[spoil]] ^= 1
    kept = {"empty": 0, "cut": len(data) // 2}.get(spoil, len(data))
    Path("bad.bundle").write_bytes(bytes(data[:kept]))
    line = place.refused(*SHIP.format("bad.bundle", "verdict.json", "publisher", DOWN).split())
    assert "bad.bundle is no bundle, or a damaged one" in line
    assert "give the policy's source file" in line


def test_a_candidate_that_never_ran_has_no_layers(place: Folder, store: Path) -> None:
    words = ("verify", "outside.py", "--traces", store, "--ledger", "ledger.db")
    assert place.json(*words, "--out", "v.json", code=1)["layers"] == []
    done = place.run(*words, "--out", "w.json")
    assert done.exit_code == 1
    assert "the candidate was not run" in done.stdout and "seccomp" not in done.stdout


def test_a_heading_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print(rich_part(shown.Table(("long enough",), (("b" * 40,),), "hook \x1b[31mred"), out))
    said = capsys.readouterr().out
    assert "\x1b" not in said and "hook \ufffd[31mred" in said
