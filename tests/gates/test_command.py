"""``gnomon verify``: tables and JSON, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import gnomon.shadow.traces.trace
from gnomon.commands import verify
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import TraceError
from gnomon.shadow.gates.verdict import load_verdict
from gnomon.shadow.traces.trace import DecisionTrace

from .conftest import PEAK

app = typer.Typer()
verify.register(app)
app.command("other")(lambda: None)  # so that "verify" stays a command of its own


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trace: DecisionTrace) -> None:
    """A store that holds the recorded system; reading stores is the trace's own test."""

    def load(store: Path, hook: str | None = None) -> DecisionTrace:
        if hook not in (None, trace.hook):
            raise TraceError(f"{store} holds no hook {hook!r}; it has {trace.hook}")
        return trace

    monkeypatch.setattr(gnomon.shadow.traces.trace, "load_trace", load)
    monkeypatch.chdir(tmp_path)


def run(source: str, *arguments: str) -> Result:
    Path("policy.py").write_text(source)
    incumbent = ["--incumbent", "baseline:round_robin"]
    return CliRunner().invoke(app, ["verify", "policy.py", *incumbent, *arguments])


def test_an_accepted_policy_leaves_a_verdict_that_the_ledger_vouches_for() -> None:
    done = run(PEAK, "--json", "--out", "v.json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["decision"] == "accepted"
    ledger = Ledger(Path(".gnomon/ledger.db"))
    assert load_verdict(Path("v.json"), ledger).digest == said["digest"]
    ledger.close()
    assert "holdout: passed" in done.stderr


def test_a_refused_policy_shows_the_gate_and_why() -> None:
    done = run("def score(inflight):\n    return inflight.x\n")
    assert done.exit_code == 1
    assert "language" in done.stdout and "Refused at gate language" in done.stdout
    assert len(list(Path(".gnomon/verdicts").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--isolation", "jail"), "'jail' is unknown"),
        (("--hook", "nobody"), "holds no hook 'nobody'"),
        (("--hook", "no_such_module:pick"), "cannot import"),
        (("--incumbent", "baseline:best"), "no baseline 'best'"),
        (("--against", "missing.py"), "missing.py"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    done = run(PEAK, *arguments)
    assert done.exit_code == 2
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not Path(".gnomon/verdicts").exists()


def test_a_missing_policy_is_bad_input() -> None:
    done = CliRunner().invoke(app, ["verify", "nothing.py"])
    assert done.exit_code == 2 and "nothing.py" in done.stderr
