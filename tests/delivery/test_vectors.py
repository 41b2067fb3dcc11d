"""The client's rules against vectors as files, which another implementation can run as well.

``GNOMON_WRITE_VECTORS=1 pytest tests/delivery/test_vectors.py`` writes them anew.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnomon.sdk import keys
from gnomon.sdk.errors import TrustError
from gnomon.sdk.manifest import Anchors, ManifestGuard, Now
from gnomon.sdk.state import Saved
from gnomon.v1 import policy_pb2

from .vectors import CASES, made

FOLDER = Path(__file__).parent / "vectors"
FILES = sorted(FOLDER.glob("*.json"))


class Client:
    """What runs a vector: a guard, and what would be on its disk."""

    def __init__(self, hook: str) -> None:
        self._hook, self._saved, self._anchors = hook, Saved(), Anchors(())
        self._guard = ManifestGuard(hook, self._anchors)

    def step(self, step: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a step; empty for one that has none."""
        if step["do"] == "send":
            return self._send(step)
        if step["do"] == "pin":
            self._anchors = Anchors(
                tuple(keys.from_raw(bytes.fromhex(raw)) for raw in step["publishers"]),
                min_epoch=step["min_epoch"],
                revoked=frozenset(step["revoked"]),
            )
            self._guard.trust(self._anchors)
        else:
            self._saved = Saved() if step["state_lost"] else self._saved
            self._guard = ManifestGuard(self._hook, self._anchors, self._saved)
        return {}

    def _send(self, step: dict[str, Any]) -> dict[str, Any]:
        envelope = policy_pb2.Envelope.FromString(base64.b64decode(step["envelope"]))
        try:
            found = self._guard.check(envelope, Now(step["unix_ns"], step["monotonic_ns"]))
        except TrustError:
            return {"accept": False}
        self._guard.commit(found)
        self._saved = found.saved
        epoch, until = str(found.manifest.epoch), found.lease_until_ns
        return {"accept": True, "epoch": epoch, "lease_until_ns": until}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_client_answers_as_the_vector_says(path: Path) -> None:
    case = json.loads(path.read_text())
    client = Client(case["hook"])
    for number, step in enumerate(case["steps"]):
        answer = client.step(step)
        expected = {name: step[name] for name in answer if name in step}
        assert {name: answer[name] for name in expected} == expected, (number, case["says"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_vector_is_as_it_is_made(case: Callable[..., None]) -> None:
    path = FOLDER / f"{case.__name__}.json"
    text = json.dumps(made(case), indent=1) + "\n"
    if os.environ.get("GNOMON_WRITE_VECTORS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, "the wire or the signatures changed; is that meant?"


def test_there_is_a_vector_for_every_case_and_every_vector_tells_good_from_bad() -> None:
    assert {path.stem for path in FILES} == {case.__name__ for case in CASES}
    answers = [
        (path.stem, step["accept"])
        for path in FILES
        for step in json.loads(path.read_text())["steps"]
        if step["do"] == "send"
    ]
    assert {name for name, accept in answers if not accept} >= {path.stem for path in FILES} - {
        "going_back"
    }
    assert sum(accept for _, accept in answers) >= 20
