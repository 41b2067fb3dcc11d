"""What the clean process is made ready with before any program comes: libraries, and what a kind calls once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import HostOperation

from .jobs import kind_of

OPERATIONS = '''\
"""Operations of a kind from outside, which work with a library where it is installed."""

calls = []


def ready():
    calls.append("ready")


def calls_before():
    return float(len(calls))


def found():
    try:
        import lent_library
    except ImportError:
        return 0.0
    return lent_library.ANSWER
'''
ASKS = "def decide(machine):\n    machine[0] = {}()\n"


@pytest.fixture
def operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of operations, and beside it in a folder of its own a library that they may use."""
    (tmp_path / "own").mkdir()
    (tmp_path / "lent" / "lent_library").mkdir(parents=True)
    (tmp_path / "own" / "lent_operations.py").write_text(OPERATIONS)
    (tmp_path / "lent" / "lent_library" / "__init__.py").write_text("ANSWER = 7.0\n")
    for folder in ("own", "lent"):
        monkeypatch.syspath_prepend(tmp_path / folder)
    import lent_operations  # type: ignore[import-not-found]

    yield lent_operations
    sys.modules.pop("lent_operations", None)


def of(operations: ModuleType, name: str, **changes: object) -> Kind:
    operation = HostOperation(name, "Asked.", ())
    return kind_of(operations=(operation,), host={name: getattr(operations, name)}, **changes)


def asked(kind: Kind, name: str) -> int:
    """Return what an operation answers in a process of its own."""
    source = ASKS.format(name)
    with program_zygote(kind, "process") as zygote, ProgramProcess(zygote, source, kind) as process:
        return int(process.ask(([1.0], 2, [0])).outputs["machine"][0])


def test_what_a_kind_makes_ready_was_called_once_before_any_program(operations: ModuleType) -> None:
    assert asked(of(operations, "calls_before"), "calls_before") == 0
    assert asked(of(operations, "calls_before", ready=operations.ready), "calls_before") == 1
    assert operations.calls == [], "not in this process"


@pytest.mark.parametrize(
    ("libraries", "found"), [((), 0), (("lent_library",), 7), (("nobody_has_this",), 0)]
)
def test_a_kinds_libraries_are_there_where_they_are_installed(
    operations: ModuleType, libraries: tuple[str, ...], found: int
) -> None:
    kind = of(operations, "found", libraries=libraries, ready=operations.found)
    assert asked(kind, "found") == found


def test_what_cannot_be_found_by_name_is_refused(operations: ModuleType) -> None:
    def here() -> None: ...

    with pytest.raises(
        ConfigurationError, match="host operation 'ready' .* cannot be imported by name"
    ):
        program_zygote(of(operations, "found", ready=here))
