"""The tutorial and the how-to pages work as they stand: files written, commands typed, in order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .pages import ROOT, Block, blocks
from .shell import free_ports, run, session

pytestmark = pytest.mark.long

TUTORIAL = ROOT / "docs" / "tutorial.md"
#: Enough to see that every command works on what the one before it left, in seconds.
SHORTER = {"load.py 8000 60": "load.py 8000 10", "load.py 8000 5": "load.py 8000 1"}
FEWER = {
    "--budget 200": "--budget 8",
    "--budget 40": "--budget 8",
    "gnomon replay --hook": "gnomon replay --replicas 2 --hook",
    "--replicas 4": "--replicas 2",
}


def typed(page: Path, note: str) -> list[Block]:
    """Return the blocks of commands whose note begins so."""
    return [block for block in blocks(page, "console") if block.note.startswith(note)]


def play(
    shown: list[Block], folder: Path, shorter: dict[str, str] | None = None
) -> tuple[str, str]:
    """Type blocks in a folder, at ports of their own; return standard output and error."""
    service, recorder, control = free_ports(3)
    moved = {
        "gnomon record": f"gnomon record --listen 127.0.0.1:{recorder}",
        "gnomon serve": f"gnomon serve --listen 127.0.0.1:{control}",
        "127.0.0.1:4317": f"127.0.0.1:{recorder}",
        "127.0.0.1:7400": f"127.0.0.1:{control}",
        "service.py 8000": f"service.py {service}",
        "load.py 8000": f"load.py {service}",
    }
    servers = {"gnomon record": recorder, "gnomon serve": control, "service.py": service}
    ended = run(["bash", "-c", session(shown, (shorter or {}) | moved, servers)], folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for block in blocks(page):
        if block.note.startswith("file "):
            (folder / block.note.removeprefix("file ")).write_text(block.text)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of somebody who has come as far as the keys."""
    folder = tmp_path_factory.mktemp("thumbs")
    write_files(TUTORIAL, folder)
    quick = [block for block in typed(TUTORIAL, "run") if block.note != "run in full"]
    assert len(quick) == 8
    play(quick, folder, SHORTER | FEWER)
    return folder


def test_the_tutorial_works_up_to_the_keys(played: Path) -> None:
    assert (played / ".gnomon/run/best.py").is_file()
    assert (played / ".gnomon/verdict.json").is_file()
    assert (played / ".gnomon/keys/rollout.pub").is_file()


@pytest.mark.parametrize("names", [("replay",), ("canary", "audit")], ids="-".join)
def test_the_how_to_pages_go_on_from_there(
    names: tuple[str, ...], played: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "thumbs"
    shutil.copytree(played, folder)
    pages = [ROOT / "docs" / "how-to" / f"{name}.md" for name in names]
    for page in pages:
        write_files(page, folder)
    shown = [block for page in pages for block in typed(page, "run") if "in full" not in block.note]
    output, _ = play(shown, folder, FEWER)
    if "audit" in names:
        assert "What the processes had acknowledged" in output
        assert "Recorded decisions from" in output, "no decision of the function was found"
        assert "rollout.override" in output


def play_cache(note: str, folder: Path, shorter: dict[str, str]) -> tuple[str, str]:
    """Play the page about caches in a folder of its own."""
    page = ROOT / "docs" / "how-to" / "cache.md"
    write_files(page, folder)
    return play([block for block in typed(page, "run") if note in block.note], folder, shorter)


def test_a_cache_is_recorded_replayed_and_searched(tmp_path: Path) -> None:
    shorter = FEWER | {"lookups.py 30": "lookups.py 8", "--budget 100": "--budget 8"}
    output, _ = play_cache("run, ", tmp_path, shorter)
    assert "fidelity: ok" in output
    assert (tmp_path / ".gnomon/run/best.py").is_file()


@pytest.mark.soak
def test_a_policy_is_shipped_into_a_running_cache(tmp_path: Path) -> None:
    _, errors = play_cache("run", tmp_path, {})
    assert "FULL -> STABLE" in errors


@pytest.mark.soak
def test_the_tutorial_works_to_its_end(tmp_path: Path) -> None:
    """As it stands but for the ports: a policy is found, accepted, shipped, promoted and killed."""
    write_files(TUTORIAL, tmp_path)
    output, errors = play(typed(TUTORIAL, "run"), tmp_path)
    assert "FULL -> STABLE" in errors
    assert "ABORTED" in output
    page = ROOT / "docs" / "how-to" / "replay.md"
    write_files(page, tmp_path)
    play(typed(page, "run"), tmp_path)
