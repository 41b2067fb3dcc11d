"""What `gnomon doctor` finds on machines that lack something, and on this one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.commands._checks import Check, Diagnosis, diagnose, within
from gnomon.commands._probes import ClockState, Machine, standing, this_machine
from gnomon.policies import registry
from gnomon.sdk.errors import ConfigurationError, IsolationError, UnavailableError
from gnomon.sdk.isolation.layers import LAYERS, MISSING, ONLY_ROOT, WEAK_LAYERS
from gnomon.sdk.keys import generate, save

from .conftest import Folder

STATED = [
    "grpcio>=1.68.1",
    "protobuf<8,>=5.28.1",
    'numpy>=2; extra == "shadow"',
    'gnomon[shadow,server]; extra == "demo"',
    'aiohttp>=3.10; extra == "demo"',
]
VERSIONS = {"grpcio": "1.70.0", "protobuf": "6.30.1", "numpy": "2.4.1", "aiohttp": "3.11.0rc1"}
STEADY = ClockState(1e-9, backwards=False, synchronised=True, error_s=0.01, step_s=0.0)


def nothing(*_anything: object) -> None:
    """Find nothing wrong."""


def raising(error: Exception) -> Callable[..., Any]:
    """Return what fails whenever it is asked."""

    def ask(*_anything: object) -> Any:
        raise error

    return ask


@pytest.fixture
def machine(folder: Folder) -> Machine:
    """A machine that lacks nothing."""
    return Machine(
        environ={},
        system=("Linux", "x86_64"),
        python=("CPython", (3, 12, 1)),
        requirements=lambda: ("0.1.0", STATED),
        version={**VERSIONS, "numba": "0.61"}.get,
        free_bytes=lambda _folder: 50 << 30,
        writable=lambda _folder: True,
        clock=lambda: STEADY,
        isolation=lambda: LAYERS,
        reach=nothing,
        reach_otlp=nothing,
        forked=lambda: False,
    )


def only(found: Diagnosis, name: str) -> Check:
    """Return the check of that name."""
    (check,) = [check for check in found.checks if check.name == name]
    return check


def test_a_machine_that_lacks_nothing_is_fine(machine: Machine) -> None:
    found = diagnose(machine)
    assert found.ok
    assert {check.answer for check in found.checks} == {"ok"}
    assert only(found, "extra shadow").found == "numpy 2.4.1"
    assert only(found, "extra demo").found == "aiohttp 3.11.0rc1"


LACKING: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("python", {"python": ("CPython", (3, 10, 0))}, "fail", "3.10.0", "3.11 to 3.13"),
    ("python", {"python": ("PyPy", (3, 11, 0))}, "fail", "PyPy", "CPython"),
    ("python", {"system": ("Darwin", "arm64")}, "warn", "Darwin arm64", "--isolation process"),
    ("base install", {"version": {**VERSIONS, "grpcio": None}.get}, "fail", "grpcio", "install"),
    (
        "base install",
        {"version": {**VERSIONS, "protobuf": "8.0"}.get},
        "fail",
        "protobuf 8.0 is not <8,>=5.28.1",
        "install",
    ),
    (
        "extra shadow",
        {"version": {**VERSIONS, "numpy": "1.26.4"}.get},
        "warn",
        "numpy 1.26.4 is not >=2",
        "pip install 'gnomon[shadow]'",
    ),
    (
        "extra shadow",
        {"version": {**VERSIONS, "numpy": None}.get},
        "not installed",
        "missing: numpy",
        "pip install 'gnomon[shadow]'",
    ),
    (
        "isolation",
        {"isolation": raising(IsolationError("seccomp is refused"))},
        "warn",
        "strict cannot be had: seccomp is refused",
        "--isolation process",
    ),
    ("compiled code", {"version": VERSIONS.get}, "not installed", "numba", ""),
    (
        "isolation",
        {"isolation": lambda: tuple(set(LAYERS) - set(ONLY_ROOT))},
        "ok",
        "without uid: a candidate runs as this user",
        "for uid: start as root",
    ),
    (
        "isolation",
        {"isolation": lambda: tuple(set(LAYERS) - {"landlock"})},
        "warn",
        "without landlock: files and connections are left to seccomp alone",
        "/sys/kernel/security/lsm",
    ),
    ("clock", {"clock": lambda: replace(STEADY, backwards=True)}, "fail", "went back", "repair"),
    ("clock", {"clock": lambda: replace(STEADY, step_s=3.0)}, "warn", "stepped by 3 s", "slew"),
    (
        "clock",
        {"clock": lambda: replace(STEADY, synchronised=False)},
        "warn",
        "not synchronised",
        "chrony",
    ),
    ("clock", {"clock": lambda: replace(STEADY, error_s=1.5)}, "warn", "within 1.5 s", "--skew"),
    ("clock", {"clock": lambda: replace(STEADY, synchronised=None)}, "ok", "state not told", ""),
    ("state", {"writable": lambda _f: False}, "fail", ".gnomon cannot be", "GNOMON_STATE_DIR"),
    ("state", {"free_bytes": lambda _f: 1 << 20}, "fail", "0.0 GiB free", "make room"),
    ("state", {"free_bytes": lambda _f: 500 << 20}, "warn", "0.5 GiB free", "make room"),
    ("forks", {"forked": lambda: True}, "fail", "after gRPC was used", "spawn"),
    (
        "compiled code",
        {"writable": Path(".gnomon").__eq__, "version": {**VERSIONS, "numba": "0.61"}.get},
        "warn",
        "no cache in",
        "NUMBA_CACHE_DIR",
    ),
]


@pytest.mark.parametrize(("name", "change", "answer", "found", "remedy"), LACKING)
def test_what_is_lacking_is_said_with_a_remedy(
    machine: Machine, name: str, change: dict[str, Any], answer: str, found: str, remedy: str
) -> None:
    diagnosis = diagnose(replace(machine, **change))
    check = only(diagnosis, name)
    assert (check.answer, found in check.found, remedy in check.remedy) == (answer, True, True)
    assert diagnosis.ok is (answer != "fail")
    if answer != "ok" and remedy:
        assert f"{name}: {check.remedy}" in str(diagnosis)


@pytest.mark.parametrize("layer", sorted(set(LAYERS) - set(WEAK_LAYERS) | {"no_dump"}))
def test_every_layer_that_can_be_missing_is_told_with_its_meaning(
    machine: Machine, layer: str
) -> None:
    held = tuple(each for each in LAYERS if each != layer)
    check = only(diagnose(replace(machine, isolation=lambda: held)), "isolation")
    meaning, remedy = MISSING[layer]
    assert f"without {layer}: {meaning}" in check.found and remedy in check.remedy


@pytest.mark.parametrize(
    ("environ", "name", "answer", "says"),
    [
        ({"GNOMON_DISABLE": "1"}, "variables", "warn", "did you mean GNOMON_DISABLED?"),
        ({"GNOMON_TLS_CA": "x"}, "variables", "warn", "did you mean GNOMON_TLS_"),
        ({"GNOMON_XYZZY_PLUGH": "x"}, "variables", "warn", "unset it"),
        ({"GNOMON_DISABLED": "maybe"}, "variables", "fail", "GNOMON_DISABLED is 'maybe'"),
        ({"GNOMON_SAMPLE": "2"}, "variables", "fail", "sample is 2.0"),
        ({"GNOMON_DISABLED": "on"}, "disabled", "warn", "every hook is off"),
        ({"GNOMON_CELL": "eu-1"}, "in force", "ok", "GNOMON_CELL=eu-1"),
        ({"GNOMON_CONTROL_PLANE": "127.0.0.1:9"}, "keys", "warn", "GNOMON_PUBLISHER_KEYS"),
        ({"GNOMON_MODULES": "no_such_module_at_all"}, "modules", "fail", "no_such_module_at_all"),
    ],
)
def test_variables(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    environ: Mapping[str, str],
    name: str,
    answer: str,
    says: str,
) -> None:
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "path", [*sys.path])
    check = only(diagnose(replace(machine, environ=environ)), name)
    assert check.answer == answer
    assert says in f"{check.found} {check.remedy}"


def test_modules_that_register_a_kind_are_listed(
    machine: Machine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"outside_{folder.path.name}".replace("-", "_")
    Path(f"{name}.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(registry.MODULES, name)
    check = only(diagnose(replace(machine, environ={registry.MODULES: name})), "modules")
    assert (check.answer, name in check.found) == ("ok", True)


def test_keys_that_others_may_read_or_that_are_none(machine: Machine) -> None:
    folder = Path(".gnomon/keys")
    private, _ = save(generate(), folder, "publisher", "publisher")
    assert only(diagnose(machine), "keys").found.startswith("1 private and 1 public")
    private.chmod(0o644)
    (folder / "broken.pub").write_text("nothing")
    failed = [check for check in diagnose(machine).checks if check.answer == "fail"]
    assert [check.name for check in failed] == ["keys", "keys"]
    assert "chmod 600" in failed[0].found and "broken.pub" in failed[1].found
    pinned = replace(machine, environ={"GNOMON_PUBLISHER_KEYS": "missing.pub"})
    assert any("missing.pub" in check.found for check in diagnose(pinned).checks)


@pytest.mark.parametrize(
    ("plane", "error", "says"),
    [
        ("127.0.0.1:1", UnavailableError("127.0.0.1:1 does not answer"), "does not answer"),
        ("elsewhere", None, "not of the form host:port"),
        ("10.0.0.1:7400", None, "plain text to 10.0.0.1:7400 is refused"),
        ("127.0.0.1:1", ConfigurationError("cannot read ca.pem"), "cannot read ca.pem"),
    ],
)
def test_a_control_plane_out_of_reach(
    machine: Machine, plane: str, error: Exception | None, says: str
) -> None:
    away = replace(machine, reach=raising(error)) if error else machine
    check = only(diagnose(away, plane), "control plane")
    assert (check.answer, says in check.found) == ("fail", True)


def test_an_endpoint_out_of_reach(machine: Machine) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    away = replace(machine, environ=environ, reach_otlp=raising(UnavailableError("away")))
    check = only(diagnose(away), "OTLP endpoint")
    assert (check.answer, check.found) == ("fail", "away")
    assert "gnomon record" in check.remedy


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of a gRPC server that answers."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def closed() -> Iterator[str]:
    """An address that is taken and at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_this_machine_reaches_what_answers(listening: str, closed: str, folder: Folder) -> None:
    found = folder.json("doctor", "--control-plane", listening, "--otlp-endpoint", listening)
    answers = {check["name"]: check["answer"] for check in found["checks"]}
    assert (answers["control plane"], answers["OTLP endpoint"]) == ("ok", "ok")
    away = folder.json("doctor", "--control-plane", closed, "--otlp-endpoint", closed, code=1)
    answers = {check["name"]: check["answer"] for check in away["checks"]}
    assert (answers["control plane"], answers["OTLP endpoint"]) == ("fail", "fail")
    assert not away["ok"] and "does not answer" in str(away["checks"])
    assert "base install" in folder.run("doctor", "--control-plane", listening).stdout


def test_the_probes_tell_of_this_machine(folder: Folder) -> None:
    machine = this_machine()
    own, stated = machine.requirements()
    assert own == gnomon.__version__ and any(line.startswith("grpcio") for line in stated)
    assert machine.version("grpcio") and machine.version("no-such-distribution") is None
    assert 0.0 < machine.clock().resolution_s < 1e-3
    assert machine.free_bytes(Path("not/there/yet")) > 0
    assert standing(Path("not/there/yet")) == folder.path


def test_a_table_of_sentences_fits_a_hundred_columns_where_it_is_piped(folder: Folder) -> None:
    lines = folder.run("doctor").stdout.splitlines()
    table = [line for line in lines if line.startswith(("│", "┃", "┏", "┡", "└"))]
    assert table and max(map(len, table)) <= 100
    words = "".join(line.split("│")[3].strip() for line in table if line.startswith("│"))
    told = words.replace(" ", "")  # a line may be folded anywhere
    assert "forkedlater" in told and "theysendnothing" in told  # and nothing is cut


BARE = """
import sys
for name in ("typer", "rich", "numpy", "numba", "pyarrow", "sqlalchemy", "jinja2", "hypothesis"):
    sys.modules[name] = None
sys.argv = ["gnomon", "doctor", "--json"]
from gnomon.__main__ import main
main()
"""


def test_the_base_install_is_enough(tmp_path: Path) -> None:
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("GNOMON_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["isolation"]["found"].startswith("strict: process, ")


numbers = st.lists(st.integers(0, 50), min_size=1, max_size=3)


@given(numbers, numbers)
def test_versions_compare_by_their_numbers(left: list[int], right: list[int]) -> None:
    one, other = (".".join(map(str, each)) for each in (left, right))
    padded = [each + [0] * (3 - len(each)) for each in (left, right)]
    assert within(one, f">={other}") is (padded[0] >= padded[1])
    assert within(one, f"<{other}") is (padded[0] < padded[1])
    assert within(f"{one}rc1", f">={one},<={one},=={one}")
    assert not within(one, f"!={one}")
