"""The whole loop through the commands themselves, from a trace store to an audited rollout."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from gnomon.sdk.bundle import bundle_digest, load_bundle

from .conftest import HOOK, Folder, serving

RECORDED = ("--incumbent", "baseline:round_robin")


def test_from_a_trace_to_an_audited_rollout(folder: Folder, store: Path) -> None:
    for name, role in (("publisher", "publisher"), ("rollout", "rollout")):
        assert folder.json("keys", "new", name, "--role", role)["role"] == role
    assert [row["name"] for row in folder.json("keys", "list")] == ["publisher", "rollout"]
    keys = folder.path / ".gnomon" / "keys"
    shown = folder.json("keys", "show", keys / "publisher.pub")
    assert len(shown["raw"]) == 64

    (summary,) = folder.json("traces", store)["hooks"]
    assert summary["hook"] == HOOK
    table = folder.json("replay", store, *RECORDED, "--policy", "baseline:random", "--replicas", 4)
    assert [row["policy"] for row in table["rows"]] == ["round_robin", "random"]

    search = ("--traces", store, "--budget", "12", "--seed", "3")
    found = folder.json("evolve", *search, *RECORDED)
    best = Path(found["folder"]) / "best.py"
    assert best == Path(".gnomon/runs") / HOOK / "best.py"
    assert best.read_text() == found["winner"]["source"]

    verdict = folder.json("verify", best, "--traces", store, *RECORDED)
    assert verdict["decision"] == "accepted"
    assert verdict["predicted"]["incumbent"]["high"] < 0.0

    words = ["serve", "--listen", "127.0.0.1:0", "--rollout-key", keys / "rollout.pem"]
    words += ["--publisher-key", keys / "publisher.pub", "--json"]
    with serving(*words, ready=folder.path / "ready") as (process, address):
        there = ("--control-plane", address)
        shipping = ("--verdict", verdict["path"], "--key", keys / "publisher.pem", "--block", "2s")
        made = folder.json("ship", best, *shipping, *there, "--bundle-out", "first.bundle")
        assert (made["state"], made["hook"], made["stable"]) == ("SHADOW", HOOK, "incumbent")
        assert made["candidate"] == bundle_digest(load_bundle("first.bundle").payload)
        assert folder.json("rollout", "status", *there)["id"] == made["id"]
        assert folder.json("rollout", "clients", *there) == []
        table = folder.run("rollout", "status", *there)
        assert (table.exit_code, made["id"] in table.stdout) == (0, True)
        same = folder.json("drift", HOOK, "--store", store, "--against", "first.bundle")
        by_verdict = ("--against", verdict["path"], "--last", "10s")
        later = folder.json("drift", HOOK, "--store", store, *by_verdict)
        assert (same["answer"], later["answer"]) == ("same", "same")
        assert [each["name"] for each in same["features"]] == ["inflight", "ewma_ms", "weight"]
        again = ("--verdict", verdict["path"], "--key", keys / "publisher.pem", *there)
        assert "once it has ended" in folder.refused("rollout", "reverified", HOOK, *again)
        aborted = folder.json("rollout", "abort", "--reason", "end of the walk", *there)
        assert aborted["state"] == "ABORTED"
        watched = folder.run("rollout", "watch", *there, "--json")
        assert watched.exit_code == 1
        assert [json.loads(line)["state"] for line in watched.stdout.splitlines()] == ["ABORTED"]
        audited(folder, made["id"], made["candidate"], *there)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert json.loads(said) == {"listening": address}
    audited(folder, made["id"], made["candidate"], "--ledger", ".gnomon/control-plane/ledger.db")
    local = [entry["kind"] for entry in folder.json("audit", "list")]
    assert local == ["holdout.opened", "verdict"]
    explained = folder.json("audit", "explain", verdict["source_digest"][:12])
    about = [verdict["splits"]["holdout"], verdict["digest"]]
    assert [entry["subject"] for entry in explained] == about


def audited(folder: Folder, rollout: str, candidate: str, *where: str) -> None:
    """Verify, list, explain and export a ledger of one aborted rollout."""
    check = folder.json("audit", "verify", *where)
    assert check["ok"]
    assert folder.json("audit", "verify", "--anchor", check["head"], *where)["ok"]
    listed = folder.json("audit", "list", "--limit", "0", *where)
    created = next(entry for entry in listed if entry["kind"] == "rollout.created")
    assert created["body"]["provenance"]["verdict"] == "accepted"
    last = [entry["body"] for entry in listed if entry["kind"] == "rollout.transition"][-1]
    assert (last["to"], last["cause"]) == ("ABORTED", "end of the walk")
    assert {entry["subject"] for entry in folder.json("audit", "explain", rollout, *where)} >= {
        rollout
    }
    assert folder.json("audit", "explain", candidate, *where)
    out = folder.path / "export.jsonl"
    written = folder.json("audit", "export", "--out", out, *where)
    assert written == {"entries": check["entries"], "out": str(out), "format": "jsonl"}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines == listed
    printed = folder.run("audit", "export", *where)
    assert printed.stdout == out.read_text()
