"""The command line itself: version, help, missing libraries, and whose faults are shown how."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import gnomon
from gnomon.cli import COMMANDS, app
from gnomon.commands._common import handled
from gnomon.commands._extras import missing
from gnomon.policies.registry import MODULES
from gnomon.sdk.errors import TrustError, UnavailableError

from .conftest import Folder


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run some code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_version_needs_no_command() -> None:
    for words in (["--version"], ["--version", "replay"]):
        shown = CliRunner().invoke(app, words)
        assert (shown.exit_code, shown.stdout) == (0, f"{gnomon.__version__}\n")


def test_modules_named_on_the_line_count_as_those_of_the_environment(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{each}_{folder.path.name}".replace("-", "_") for each in ("first", "second")]
    for name in names:
        Path(f"{name}.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(MODULES, names[0])
    found = folder.json("--module", names[1], "--module", names[0], "doctor")
    (check,) = [each for each in found["checks"] if each["name"] == "modules"]
    assert check["found"].startswith(", ".join(names))
    broken = folder.json("--module", "no_such_module_here", "doctor", code=1)
    assert "cannot import 'no_such_module_here'" in str(broken["checks"])


def test_without_a_command_there_is_help() -> None:
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 0
    assert all(command in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("group", ["audit", "keys", "rollout"])
def test_a_group_without_a_command_is_wrong_usage(group: str) -> None:
    shown = CliRunner().invoke(app, [group])
    assert shown.exit_code == 2
    assert f"Usage: gnomon {group} " in shown.stdout


def test_a_caller_may_have_the_code_returned() -> None:
    command = typer.main.get_command(app)
    assert command.main(["keys", "list", "--dir", "nowhere"], standalone_mode=False) is None


def test_a_missing_library_is_named_with_its_extra() -> None:
    told = python(
        "import sys; sys.modules['typer'] = None\nfrom gnomon.__main__ import main\nmain()"
    )
    assert told.returncode == 2
    assert told.stderr.startswith(
        "gnomon: this needs typer, which is not installed; run: pip install"
    )
    assert told.stderr.count("\n") == 1


def test_a_fault_of_our_own_is_not_taken_for_a_missing_library() -> None:
    told = python(
        "import sys; sys.modules['gnomon.cli'] = None\nfrom gnomon.__main__ import main\nmain()"
    )
    assert told.returncode == 1
    assert "Traceback" in told.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("", name="sqlalchemy.orm"), "gnomon[server]"),
        (ModuleNotFoundError("", name="aiohttp"), "gnomon[demo]"),
        (ModuleNotFoundError("", name="pyarrow"), "gnomon[shadow,server]"),
        (ModuleNotFoundError("", name="gnomon.shadow.nothing"), ""),
        (ImportError("cannot import name", name="numpy"), ""),
        (ImportError("no name"), ""),
    ],
)
def test_what_is_missing(error: ImportError, says: str) -> None:
    assert says in missing(error)
    assert bool(missing(error)) == bool(says)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (TrustError("two\nlines"), 2, "gnomon: two lines\n"),
        (UnavailableError("away"), 4, "gnomon: away\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x/y"), 2, "gnomon: x/y: Permission"),
        (ModuleNotFoundError("", name="pyarrow"), 2, "gnomon: this needs pyarrow"),
    ],
)
def test_what_is_expected_to_go_wrong(
    error: Exception, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @handled
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as left:
        command()
    assert left.value.exit_code == code
    assert capsys.readouterr().err.startswith(says)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        ImportError("cannot import name", name="gnomon.sdk"),
        OSError("no file"),
        BrokenPipeError(errno.EPIPE, "Broken pipe", "x"),
    ],
)
def test_all_else_shows_where_it_happened(error: Exception) -> None:
    @handled
    def command() -> None:
        raise error

    with pytest.raises(type(error)):
        command()


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    code = "from gnomon.cli import app\napp(['keys', 'list', '--json'])"
    shell = f'"{sys.executable}" -c "{code}" | true'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
