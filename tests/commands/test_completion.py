"""Shell completion, asked as the shells ask it: an environment variable and a line so far."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnomon.cli import COMMANDS
from gnomon.policies import registry
from gnomon.policies.registry import kind
from gnomon.policies.rollout.ledger import Ledger

from .conftest import HOOK, Folder

HEAVY = {"numpy", "pyarrow", "grpc", "numba", "sqlalchemy", "gnomon.v1", "gnomon.recorder.store"}
WORDS = {
    "bash": ("complete_bash", "COMP_WORDS", {"COMP_CWORD": ""}),
    "zsh": ("complete_zsh", "_TYPER_COMPLETE_ARGS", {}),
    "fish": ("complete_fish", "_TYPER_COMPLETE_ARGS", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
}
RUN = """
import sys
sys.argv = ["gnomon"]
from gnomon.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def completed(line: str, shell: str = "bash", **environ: str) -> list[str]:
    """Return what a shell is offered for a line; nothing heavy may have been imported for it."""
    instruction, variable, others = WORDS[shell]
    asked = {"_GNOMON_COMPLETE": instruction, variable: line, **others}
    if "COMP_CWORD" in asked:
        asked["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("GNOMON_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        env=inherited | asked | environ,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not HEAVY & set(done.stderr.split())
    return done.stdout.splitlines()


def values(line: str, **environ: str) -> set[str]:
    """Return the values that bash is offered."""
    return set(completed(line, **environ)) - {""}


def baselines() -> set[str]:
    own = registry._BUILT_IN  # other tests register more, in this process only
    return {f"baseline:{name}" for each in own for name in kind(each).baselines}


@pytest.mark.parametrize("shell", WORDS)
def test_every_shell_is_offered_the_commands(shell: str) -> None:
    said = "\n".join(completed("gnomon ", shell))
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_an_option_is_one_line_whatever_its_help(shell: str) -> None:
    lines = completed("gnomon replay --", shell)
    assert len(lines) == 16  # fourteen options and --help
    assert all("--" in line for line in lines)


@pytest.mark.parametrize("shell", WORDS)
def test_the_script_for_the_shell_is_shown(shell: str) -> None:
    environ = os.environ | {
        "SHELL": f"/bin/{shell}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            RUN.replace('["gnomon"]', f'["gnomon", "--show-completion", "{shell}"]'),
        ],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    assert f"complete_{shell}" in done.stdout and "_GNOMON_COMPLETE" in done.stdout


def test_bash_itself_completes(tmp_path: Path) -> None:
    environ = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # no shell may be above the tests
    gnomon = Path(sys.executable).with_name("gnomon")
    if not gnomon.exists():
        pytest.skip("the command is not installed beside this interpreter")
    shown = subprocess.run(
        [gnomon, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=environ,
        check=True,
    )
    asked = "COMP_WORDS=(gnomon rollout st); COMP_CWORD=2; _gnomon_completion gnomon"
    script = f"{shown.stdout}\n{asked}; echo ${{COMPREPLY[@]}}"
    environ["PATH"] = f"{gnomon.parent}:{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout.strip() == "status"


@pytest.mark.parametrize("shell", WORDS)
def test_completion_is_installed_for_its_shell(tmp_path: Path, shell: str) -> None:
    command = RUN.replace('["gnomon"]', f'["gnomon", "--install-completion", "{shell}"]')
    environ = os.environ | {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, env=environ, check=True
    )
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(f"complete_{shell}" in text for text in written)


def test_hooks_are_those_of_the_store_on_the_line(folder: Folder, store: Path) -> None:
    for before in ("traces", "traces --traces", "replay", "replay --traces"):
        assert values(f"gnomon {before} {store} --hook ") == {HOOK}
    assert "--traces" in values("gnomon replay --tr") & values("gnomon traces show --tr")
    assert values(f"gnomon evolve --traces {store} --hook rou") == {HOOK}
    assert values(f"gnomon evolve --traces {store} --hook x") == set()
    assert values("gnomon evolve --hook ") == set()  # there is no store here
    usual = Path(".gnomon/traces/decisions/hook=a%2Fb")
    usual.mkdir(parents=True)
    assert values("gnomon evolve --hook ") == {"a/b"}


def test_policies_and_other_words() -> None:
    assert values("gnomon replay --policy base") == baselines()
    assert values("gnomon replay --incumbent r") == {"recorded"}
    assert values("gnomon verify p.py --isolation ") == {"strict", "process"}
    assert values("gnomon evolve --start w") == {"weak"}
    assert values("gnomon replay --policy mine") == set()  # the shell offers files then


def test_what_lies_in_ledgers(folder: Folder) -> None:
    assert values("gnomon audit explain ") == set()
    for path, entries in {
        ".gnomon/ledger.db": [("verdict", "d" * 64)],
        ".gnomon/control-plane/ledger.db": [("rollout.created", "r-1"), ("rollout.held", "r-1")],
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        book = Ledger(Path(path))
        for name, subject in entries:
            book.append(name, "me", subject, {})
        book.close()
    assert values("gnomon audit explain ") == {"d" * 64, "r-1"}
    assert values("gnomon rollout abort r") == {"r-1"}
    assert values("gnomon audit list --kind rollout.h") == {"rollout.held"}
    assert values("gnomon audit list --ledger ./.gnomon/../.gnomon/ledger.db --kind ") == {
        "verdict"
    }


@pytest.mark.parametrize("damage", ["nothing of the kind", ""])
def test_damage_offers_nothing_and_says_nothing(folder: Folder, damage: str) -> None:
    Path(".gnomon").mkdir()
    Path(".gnomon/ledger.db").write_text(damage)
    Path(".gnomon/traces").write_text(damage)
    assert values("gnomon audit explain ") == set()
    assert values("gnomon evolve --hook ") == set()


def test_kinds_from_outside_are_offered_and_their_faults_are_not(folder: Folder) -> None:
    Path("mine_completed.py").write_text(
        "from dataclasses import replace\n"
        "from gnomon.policies import registry\n"
        "from gnomon.policies.load_balancer import load_balancer as base\n"
        "own = {'mine': base.baselines['random']}\n"
        "registry.register(replace(base, name='mine', baselines=own))\n"
    )
    known = {"GNOMON_MODULES": "mine_completed", "PYTHONPATH": str(folder.path)}
    assert values("gnomon replay --policy baseline:m", **known) == {"baseline:mine"}
    path = {"PYTHONPATH": str(folder.path)}
    line = "gnomon --module mine_completed replay --policy baseline:m"
    assert values(line, **path) == {"baseline:mine"}
    Path("broken_completed.py").write_text("raise RuntimeError('no')\n")
    broken = known | {"GNOMON_MODULES": "broken_completed"}
    assert values("gnomon replay --policy base", **broken) == set()
