"""The documentation builds, without a warning and without reaching for anything elsewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gnomon
from gnomon import testing
from gnomon.policies import registry

from .pages import PAGES, ROOT

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo")),
        reason="the documentation's tool is not installed: dependency group docs",
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built pages."""
    folder = tmp_path_factory.mktemp("docs")
    command = re.search(
        r"^docs:.*\n\t\$\(PY\) (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert command, "Makefile has no target docs"
    words = command[1].replace("build/docs", str(folder / "html")).split()
    words = [word.replace("build/doctrees", str(folder / "trees")) for word in words]
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=840, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return folder / "html"


def test_every_page_is_built(built: Path) -> None:
    for page in PAGES:
        assert (built / page.relative_to(ROOT)).with_suffix(".html").is_file(), page
    assert "url=docs/index.html" in (built / "index.html").read_text("utf-8")


def test_the_python_reference_shows_every_public_name(built: Path) -> None:
    text = (built / "docs/reference/api.html").read_text("utf-8")
    shown = set(re.findall(r'id="gnomon\.([\w.]+)"', text))
    kinds = {*registry._BUILT_IN}  # values, with pages of their own
    assert {*gnomon.__all__} - kinds - {"__version__"} <= shown
    assert {f"testing.{name}" for name in testing.__all__} <= shown


def test_no_page_loads_from_elsewhere_or_names_this_machine(built: Path) -> None:
    loaded = re.compile(r'(?:src|<link[^>]+href|url\()\s*=?\s*["\'(]?(?:https?:)?//')
    for file in built.rglob("*"):
        if file.suffix in (".html", ".css", ".js"):
            text = file.read_text("utf-8")
            assert not loaded.search(text), file.name
            assert str(ROOT) not in text, file.name
