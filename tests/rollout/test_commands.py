"""The commands serve, ship, rollout and audit, as a user types them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gnomon.commands import audit, rollout, serve, ship
from gnomon.commands import keys as key_commands
from gnomon.commands._rollout import seconds
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import acknowledged
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.server import ControlPlane
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.sdk import keys
from gnomon.sdk.bundle import golden_of, load_bundle, save_bundle
from gnomon.sdk.errors import ConfigurationError, UnavailableError
from gnomon.shadow.gates.verdict import GATES, GateResult, Verdict
from gnomon.shadow.report.rollouts import Rollout
from gnomon.v1 import rollouts_pb2

SOURCE = f"def score({', '.join(load_balancer.input_names)}):\n    return inflight\n"
app = typer.Typer()
for module in (audit, key_commands, rollout, serve, ship):
    module.register(app)

ACCEPTED = Verdict(
    decision="accepted",
    reason="",
    summary="8 % better",
    hook="router.pick",
    kind="load_balancer",
    kind_version=load_balancer.version,
    source=SOURCE,
    source_digest=hashlib.sha256(SOURCE.encode()).hexdigest(),
    form="score",
    gates=tuple(GateResult(name, "passed", "") for name in GATES),
    fidelity={},
    trace="t" * 64,
    splits={},
    calibration="c" * 64,
    predicted={"incumbent": {"estimate": -0.08, "low": -0.1, "high": -0.06}},
    layers=(),
    isolation="strict",
    seed=0,
    tool="test",
    created_ns=1,
    golden=golden_of(load_balancer.checked(SOURCE), load_balancer).digest,
)


class Place:
    """A folder with keys, ledger, verdict and policy, and a control plane that runs."""

    def __init__(self, folder: Path, publisher: Any) -> None:
        self.folder = folder
        keys.save(publisher.key, folder, "publisher", "publisher")
        keys.save(publisher.rollout, folder, "rollout", "rollout")
        self.ledger = Ledger(folder / "ledger.db")
        self.policy = folder / "policy.py"
        self.policy.write_text(SOURCE)
        publishers = (publisher.key.public_key(),)
        settings = ServerSettings("127.0.0.1:0", folder / "state", publisher.rollout, publishers)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.plane = ControlPlane(settings)
        asyncio.run_coroutine_threadsafe(self.plane.start(), self._loop).result(10)
        self.address = f"127.0.0.1:{self.plane.port}"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.plane.stop(0.1), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.ledger.close()

    def verdict(self, **change: Any) -> Path:
        made = replace(ACCEPTED, **change)
        made.record(self.ledger, "verify")
        path = self.folder / "verdict.json"
        made.save(path)
        return path

    def run(self, *words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--control-plane", self.address])

    def json(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def ship(self, verdict: Path, *words: str, policy: Path | None = None) -> Any:
        fixed = ["--verdict", str(verdict), "--key", str(self.folder / "publisher.pem")]
        fixed += ["--ledger", str(self.folder / "ledger.db")]
        return self.run("ship", str(policy or self.policy), *fixed, *words)


@pytest.fixture
def place(tmp_path: Path, publisher: Any) -> Iterator[Place]:
    made = Place(tmp_path, publisher)
    yield made
    made.stop()


def test_a_verified_source_is_shipped_and_steered(place: Place) -> None:
    result = place.ship(place.verdict(), "--json", "--block", "2s", "--soak", "500ms")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert (made["state"], made["hook"]) == ("SHADOW", "router.pick")
    assert place.json("rollout", "hold", "--reason", "lunch")["state"] == "HOLD"
    assert place.json("rollout", "status", made["id"])["transitions"][-1]["cause"] == "lunch"
    watched = place.run("rollout", "watch")
    assert watched.exit_code == 3
    assert "SHADOW -> HOLD: lunch" in watched.stderr
    assert place.json("rollout", "resume")["state"] == "SHADOW"
    assert place.run("rollout", "promote").exit_code == 2
    assert place.json("rollout", "abort")["state"] == "ABORTED"
    assert place.run("rollout", "watch").exit_code == 1
    assert place.json("rollout", "retry")["attempt"] == 2
    assert place.json("rollout", "kill", "--reason", "drill")["serving"] == "incumbent"
    assert place.json("rollout", "clients") == []
    assert "router.pick" in place.run("rollout", "status").stdout
    refused = place.run("rollout", "recalibrated")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_a_second_abort_says_that_nothing_was_changed(place: Place) -> None:
    place.ship(place.verdict())
    first = place.run("rollout", "abort", "--reason", "drill")
    assert first.exit_code == 0
    assert "drill (abort by " in first.stdout
    again = place.run("rollout", "abort")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "in ABORTED; nothing was changed" in again.stderr
    listed = place.run("audit", "list", "--kind", "rollout.transition").stdout
    assert "SHADOW -> ABORTED by abort: drill" in listed


class Fleet:
    """A control plane of two processes, of which the second may be slow to acknowledge."""

    def __init__(self, answers: list[int | None]) -> None:
        self.answers = answers

    def get(self, rollout: str) -> Any:
        if (acked := self.answers.pop(0)) is None:
            raise UnavailableError("gone")
        return rollouts_pb2.Rollout(id=rollout, acked=acked, clients=2)


@pytest.mark.parametrize(
    ("answers", "acked", "left"),
    [([0, 1, 2, 0], 2, 1), ([1] * 30, 1, 10), ([1, None, 2], 1, 1)],
)
def test_acknowledgements_are_waited_for_briefly(
    answers: list[int | None], acked: int, left: int
) -> None:
    fleet = Fleet(list(answers))
    slept: list[float] = []
    begun = rollouts_pb2.Rollout(id="r-1", clients=2)
    found = acknowledged(fleet, begun, slept.append)  # type: ignore[arg-type]
    assert (found.acked, len(fleet.answers)) == (acked, left)
    assert sum(slept) < 2.1


def test_processes_that_are_late_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Rollout.of(rollouts_pb2.Rollout(id="r-1", state="ABORTED", acked=1, clients=3))
    monkeypatch.setattr("gnomon.api.rollout", lambda *_words, **_named: late)
    done = CliRunner().invoke(app, ["rollout", "kill", "--reason", "drill"])
    assert done.exit_code == 0
    assert "2 of 3 processes have not acknowledged yet; ask again with" in done.stderr


def test_a_bundle_is_shipped_with_its_own_verdict_only(place: Place, publisher: Any) -> None:
    verdict = place.verdict()
    place.ship(verdict)
    created = place.plane.control.get()
    bundle = place.folder / "winner.bundle"
    push = place.plane.control.pushes("router.pick", ())[0].bundle
    save_bundle(bundle, push.envelope)
    assert load_bundle(bundle) == push.envelope
    place.run("rollout", "abort")
    assert place.ship(verdict, policy=bundle).exit_code == 0
    assert place.plane.control.get().plan.candidate == created.plan.candidate
    place.run("rollout", "abort")
    other = place.ship(place.verdict(seed=1), policy=bundle)
    assert other.exit_code == 2
    assert "rests on another verdict" in other.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decision": "refused", "summary": "worse"}, "the verdict is refused: worse"),
        ({"decision": "inconclusive"}, "the verdict is inconclusive"),
        ({"source_digest": "0" * 64}, "the verdict is on 000000000000"),
        ({"kind": "nope"}, "unknown kind 'nope'"),
        ({"kind_version": 99}, "v99"),
    ],
)
def test_what_the_verdict_does_not_accept_is_not_shipped(
    place: Place, change: dict[str, Any], words: str
) -> None:
    result = place.ship(place.verdict(**change))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr
    assert place.plane.control.rollouts() == []


def test_an_edited_or_unknown_verdict_is_refused(place: Place) -> None:
    verdict = place.verdict()
    verdict.write_bytes(verdict.read_bytes().replace(b"8 % better", b"9 % better"))
    result = place.ship(verdict)
    assert (result.exit_code, "knows no verdict" in result.stderr) == (2, True)
    (place.folder / "ledger.db").rename(place.folder / "gone.db")
    missing = place.ship(verdict)
    assert (missing.exit_code, "does not exist" in missing.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "a,b"), "are no numbers"),
        (("--weights", "0.9,1.0"), "must ascend"),
        (("--block", "soon"), "'soon' is no duration"),
        (("--min-pairs", "99"), "--min-pairs 99"),
    ],
)
def test_a_bad_ramp_names_the_value(place: Place, words: tuple[str, ...], message: str) -> None:
    result = place.ship(place.verdict(), *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_an_absent_control_plane_is_exit_4() -> None:
    result = CliRunner().invoke(app, ["rollout", "status", "--control-plane", "127.0.0.1:1"])
    assert (result.exit_code, "gnomon serve" in result.stderr) == (4, True)


def test_the_ledger_is_audited_here_and_there(place: Place, tmp_path: Path) -> None:
    verdict = place.verdict()
    place.ship(verdict)
    here = ("--ledger", str(place.folder / "ledger.db"))
    runner = CliRunner()
    local = runner.invoke(app, ["audit", "verify", *here, "--json"])
    assert (local.exit_code, json.loads(local.stdout)["entries"]) == (0, 1)
    remote = place.json("audit", "verify")
    assert remote["ok"]
    assert place.json("audit", "verify", "--anchor", remote["head"])["ok"]
    kinds = [entry["kind"] for entry in place.json("audit", "list", "--kind", "rollout")]
    assert kinds == ["rollout.created", "rollout.transition"]
    assert len(place.json("audit", "list", "--kind", "rollout.created")) == 1
    candidate = place.plane.control.get().plan.candidate
    assert len(place.json("audit", "explain", candidate[:10])) == 2
    told = place.run("audit", "explain", candidate[:10]).stdout
    digest = hashlib.sha256(verdict.read_bytes()).hexdigest()[:16]
    assert f"verdict {digest}: in another ledger" in told
    there = runner.invoke(app, ["audit", "explain", digest, *here]).stdout
    assert "Another ledger may hold more (--control-plane HOST:PORT)" in there
    unknown = place.run("audit", "explain", "f" * 64)
    assert (unknown.exit_code, "ask another ledger" in unknown.stderr) == (1, True)
    assert "rollout.created" in place.run("audit", "list").stdout
    out = tmp_path / "out.jsonl"
    place.run("audit", "export", "--out", str(out))
    assert [json.loads(line)["seq"] for line in out.read_text().splitlines()] == [1, 2, 3]


def test_an_empty_ledger_is_said_to_be_empty(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.db", lambda: 0).close()
    words = ["audit", "verify", "--ledger", str(tmp_path / "ledger.db")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "nothing to verify: the ledger holds no entries" in result.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (told["ok"], told["entries"]) == (True, 0)


def test_a_tampered_ledger_is_exit_1(place: Place) -> None:
    import sqlite3

    place.verdict()
    path = place.folder / "ledger.db"
    connection = sqlite3.connect(path)
    connection.execute("drop trigger entries_no_update")
    connection.execute("update entries set subject = 'x'")
    connection.commit()
    connection.close()
    result = CliRunner().invoke(app, ["audit", "verify", "--ledger", str(path)])
    assert (result.exit_code, "entry 1 was changed" in result.stdout) == (1, True)


def test_serving_beyond_this_machine_needs_tls(place: Place) -> None:
    words = ["serve", "--listen", "0.0.0.0:0", "--state", str(place.folder / "s2")]
    words += ["--rollout-key", str(place.folder / "rollout.pem")]
    words += ["--publisher-key", str(place.folder / "publisher.pub")]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, "plain text on 0.0.0.0:0 is refused" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2s", 2.0), ("250ms", 0.25), ("1.5h", 5400.0), ("7d", 604800.0)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1x", "nan", "infs", "3", "0"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no duration"):
        seconds(text)


def test_keys_are_signed_again_and_revoked_by_command(place: Place) -> None:
    folder = place.folder
    assert place.ship(place.verdict()).exit_code == 0
    keys.save(keys.generate(), folder, "new", "publisher")
    signing = ("keys", "resign", "--key", str(folder / "publisher.pem"))
    made = place.json(*signing, "--old", str(folder / "publisher.pub"))
    assert [row["hook"] for row in made] == ["router.pick"]
    shown = place.run(*signing, "--old", str(folder / "publisher.pub"))
    assert "router.pick: plan " in shown.stdout and "signed again" in shown.stdout
    strange = place.run(*signing, "--old", str(folder / "new.pub"))
    assert (strange.exit_code, strange.stderr.count("\n")) == (2, 1)
    assert "nothing of it was signed again" in strange.stderr
    unpinned = place.run(
        "keys", "resign", "--key", str(folder / "new.pem"), "--old", str(folder / "publisher.pub")
    )
    assert (unpinned.exit_code, unpinned.stderr.count("\n")) == (2, 1)
    revoked = CliRunner().invoke(app, ["keys", "revoke", str(folder / "new.pub"), "--json"])
    assert json.loads(revoked.stdout)["revoked"] == str(folder / "new.revoked")
    assert not (folder / "new.pub").exists()


def test_nothing_in_force_is_nothing_to_sign(place: Place) -> None:
    old = str(place.folder / "publisher.pub")
    shown = place.run("keys", "resign", "--key", str(place.folder / "publisher.pem"), "--old", old)
    assert (shown.exit_code, "nothing is in force" in shown.stdout) == (0, True)
