"""What pyproject.toml says about the tree."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "sdk", "shadow", "policies", "recorder", "commands", "demo", "proto")
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    """A folder left off the list works in development and is missing from the wheel."""
    config = CONFIG["tool"]["setuptools"]
    folder_of = config["package-dir"]

    def folder(package: str) -> str:
        if package in folder_of:
            return str(folder_of[package])
        parent, _, name = package.rpartition(".")
        return f"{folder(parent)}/{name}".removeprefix("./")

    found = {
        path.parent.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert {folder(package) for package in config["packages"]} == found | {"."}


def test_nothing_at_the_root_collides() -> None:
    assert not (ROOT / "proto" / "__init__.py").exists()
    assert not (ROOT / "conftest.py").exists()


def test_the_base_install_is_what_a_service_needs() -> None:
    names = {line.split(">")[0].split("<")[0] for line in CONFIG["project"]["dependencies"]}
    assert names == {"cryptography", "grpcio", "mmh3", "opentelemetry-sdk", "protobuf"}


def test_the_extras_are_the_promised_ones() -> None:
    extras = CONFIG["project"]["optional-dependencies"]
    assert set(extras) >= {"shadow", "torch", "llm", "server", "all"}
    assert "litellm>=1.100,!=1.82.7,!=1.82.8,<2" in extras["llm"]


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    for name in ("demo.txt", "dev.txt", "bench.txt"):
        text = (ROOT / "requirements" / name).read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "torch" not in text


def test_litellm_starts_with_no_python() -> None:
    """A version that somebody else published did (1.82.8): a file that every interpreter runs."""
    try:
        files = metadata.files("litellm") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the extra llm is not installed")
    assert files
    assert not [str(file) for file in files if file.suffix == ".pth"]


def test_the_version_is_said_once() -> None:
    import gnomon

    assert gnomon.__version__ == CONFIG["project"]["version"]
