"""``gnomon kill``: written for whoever looks, refused in words, and taken back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import gnomon
from gnomon.sdk.kill import FILE

from .conftest import Folder


@pytest.fixture
def state(folder: Folder) -> Path:
    """The state folder of some service, in the folder where commands run."""
    place = Path(".gnomon")
    place.mkdir(exist_ok=True)
    return place


def test_orders_are_written_listed_and_lifted(folder: Folder, state: Path) -> None:
    found = folder.json("kill", "router.pick", "--reason", "pages are slow", "--by", "ann")
    assert found["file"] == str(state.absolute() / FILE)
    (order,) = found["kills"]
    assert (order["hook"], order["reason"], order["by"]) == ("router.pick", "pages are slow", "ann")
    folder.json("kill", "--all", "--reason", "all of it")
    listed = folder.run("kill", "--list").stdout
    assert "pages are slow" in listed and "all hooks" in listed
    assert [kill.hook for kill in gnomon.kills(state)] == ["router.pick", ""]
    still = folder.json("kill", "router.pick", "--lift", code=1)  # all of them are killed yet
    assert [each["hook"] for each in still["kills"]] == ["*"]
    assert folder.json("kill", "--lift") == {"file": found["file"], "kills": []}
    assert folder.run("kill", "--list").stdout == f"nothing is killed by {found['file']}\n"
    assert not (state / FILE).exists()


def test_who_orders_is_the_actor(
    folder: Folder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNOMON_ACTOR", "bob")
    found = folder.json("kill", "--all", "--reason", "x")
    assert found["kills"][0]["by"] == "bob"


def test_the_state_folder_may_be_named_in_both_ways(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    folder.json("kill", "--all", "--reason", "x", "--state-dir", str(tmp_path / "one"))
    monkeypatch.setenv("GNOMON_STATE_DIR", str(tmp_path / "two"))
    folder.json("kill", "--all", "--reason", "x")
    assert (tmp_path / "one" / FILE).exists() and (tmp_path / "two" / FILE).exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to kill: name a hook, or --all"),
        (["a", "--all", "--reason", "x"], "HOOK 'a' and --all"),
        (["--all"], "say why with --reason"),
        (["--all", "--reason", " "], "say why with --reason"),
        (["--lift", "--list"], "choose one of them"),
        (["a b", "--reason", "x"], "hook name 'a b'"),
        (["a", "--lift"], "kills nothing, not 'a'"),
        (["--all", "--reason", "x", "--state-dir", "nowhere"], "there is no state folder"),
        (["--lift", "--state-dir", "nowhere"], "there is no state folder"),
        (["--list", "--state-dir", "nowhere"], "there is no state folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Folder, state: Path, words: list[str], says: str
) -> None:
    assert says in folder.refused("kill", *words)
    assert not (state / FILE).exists()


def test_an_odd_file_is_named_and_can_be_lifted_as_a_whole(folder: Folder, state: Path) -> None:
    (state / FILE).write_text("stop!")
    assert "cannot be read" in folder.run("kill", "--list").stdout
    assert "mend it" in folder.refused("kill", "a", "--reason", "x")
    assert (state / FILE).read_text() == "stop!"
    folder.run("kill", "--lift")
    assert gnomon.kills(state) == ()


def test_a_name_that_no_policy_was_kept_for_is_mentioned(folder: Folder, state: Path) -> None:
    unused = folder.run("kill", "router.pick", "--reason", "x").stderr
    assert "is no state folder that a service has kept a policy in; if theirs is another" in unused
    (state / "delivery" / "hooks").mkdir(parents=True)
    (state / "delivery" / "hooks" / "router.pick.state").touch()
    done = folder.run("kill", "router.pik", "--reason", "x")
    assert "no policy for 'router.pik' was kept here, but for router.pick" in done.stderr
    assert folder.run("kill", "router.pick", "--reason", "x").stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(folder: Folder, state: Path) -> None:
    state.chmod(0o500)
    try:
        assert "cannot be changed" in folder.refused("kill", "--all", "--reason", "x")
    finally:
        state.chmod(0o700)


def test_doctor_says_that_policies_are_stopped(folder: Folder, state: Path) -> None:
    assert "kill" not in [check.name for check in gnomon.doctor().checks]
    folder.run("kill", "--all", "--reason", "pages are slow", "--by", "ann")
    (told,) = [check for check in gnomon.doctor().checks if check.name == "kill"]
    assert (told.answer, told.remedy[-18:]) == ("warn", "gnomon kill --lift")
    assert told.found == "every hook killed (file) by ann: pages are slow"


def test_what_json_says_is_what_the_file_holds(folder: Folder, state: Path) -> None:
    folder.json("kill", "a.b", "--reason", "two\nlines\x07", "--by", "ann")
    written = json.loads((state / FILE).read_text())
    assert written["kills"][0]["reason"] == "two lines?"
