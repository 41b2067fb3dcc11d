"""Whatever is wrong with what a command is given: one line, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.recorder.schema import VERSION_KEY
from gnomon.sdk.bundle import golden_of, save_bundle
from gnomon.sdk.keys import load_private
from gnomon.shadow.bundling import bundle_for
from gnomon.shadow.gates.verdict import GATES, GateResult, Verdict

from .conftest import HOOK, Folder

PEAK = load_balancer.baselines["peak_ewma"].source or ""
OUTSIDE = "import os\n\n\ndef score(inflight):\n    return os.getpid()\n"
DOWN = "127.0.0.1:1"
VERDICT = Verdict(
    decision="accepted",
    reason="",
    summary="8 % better.",
    hook=HOOK,
    kind="load_balancer",
    kind_version=load_balancer.version,
    source=PEAK,
    source_digest="",
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
    golden=golden_of(load_balancer.checked(PEAK), load_balancer).digest,
)


def verdict(book: Ledger, name: str, **change: object) -> Verdict:
    """Return a verdict that a ledger vouches for, in a file of that name."""
    from gnomon.api import source_digest

    made = replace(VERDICT, **change)  # type: ignore[arg-type]
    made = replace(made, source_digest=made.source_digest or source_digest(made.source))
    made.record(book, "verify")
    made.save(Path(name))
    return made


def _part(store: Path) -> Path:
    return next(iter(sorted(store.glob("decisions/**/*.parquet"))))


def _rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(change(table), path)


def _future(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), VERSION_KEY: b"99"})


def _unknown_kind(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("kind")
    names = pa.array(["no_such_kind"] * len(table), table.schema.field(at).type)
    return table.set_column(at, table.schema.field(at), names)


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


BREAK: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped": _flipped,
    "junk": lambda path: path.write_bytes(b"junk"),
    "future": lambda path: _rewritten(path, _future),
    "kinds": lambda path: _rewritten(path, _unknown_kind),
}


@pytest.fixture(scope="module")
def broken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of the store, each broken in one way."""
    root = tmp_path_factory.mktemp("broken")
    for name, spoil in BREAK.items():
        shutil.copytree(store, root / name)
        for path in (root / name).glob("decisions/**/*.parquet"):
            spoil(path)
    (root / "empty").mkdir()
    (root / "file").write_text("hello")
    (root / "saved.npz").write_bytes(b"PK\x03\x04 nothing")
    return root


@pytest.fixture
def place(folder: Folder, keys: Path) -> Iterator[Folder]:
    """A folder with policies, keys, verdicts, bundles and damaged files of every sort."""
    Path("policy.py").write_text(PEAK)
    Path("other.py").write_text("def score(inflight):\n    return inflight\n")
    Path("outside.py").write_text(OUTSIDE)
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    Path("junk.bundle").write_bytes(b"zzzzz")
    Path("file").write_text("hello")
    Path("broken_module.py").write_text("1 / 0\n")
    Path("not_syntax.py").write_text("def (:\n")
    shutil.copytree(keys, "keys")
    shutil.copy("keys/publisher.pem", "keys/open.pem")
    Path("keys/open.pem").chmod(0o644)
    book = Ledger("ledger.db")
    for name, key in (("mine", "publisher"), ("stranger", "other")):
        envelope = bundle_for(
            verdict(book, "verdict.json"), load_private(f"keys/{key}.pem"), Path("policy.py")
        )
        save_bundle(f"{name}.bundle", envelope)
    elsewhere = verdict(book, "elsewhere.json", hook="other.pick")
    save_bundle("elsewhere.bundle", bundle_for(elsewhere, load_private("keys/publisher.pem")))
    verdict(book, "refused.json", decision="refused", summary="Worse.")
    verdict(book, "gateless.json", gates=())
    verdict(book, "later.json", kind_version=99)
    verdict(book, "unknown.json", kind="no_such_kind")
    book.close()
    text = Path("verdict.json").read_text()
    Path("edited.json").write_text(text.replace("8 % better", "9 % better"))
    Path("cut.json").write_text(text[:-40])
    data = Path("ledger.db").read_bytes()
    Path("cut.db").write_bytes(data[: len(data) // 2])
    with sqlite3.connect("future.db") as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    yield folder


def unharmed(place: Folder, tree: Callable[[Path], set[str]], words: str, code: int = 2) -> str:
    """Run a command that must be refused and leave no file behind; return its line."""
    before = tree(place.path)
    line = place.refused(*words.split(), code=code)
    after = {name for name in tree(place.path) if not name.endswith((".pyc", "-wal", "-shm"))}
    assert after <= before, after - before
    return line


@pytest.mark.parametrize(
    "command", ["replay {}", "evolve --traces {}", "verify policy.py --traces {}"]
)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "no trace store at"),
        ("empty", "holds no hooks yet"),
        ("file", "no trace store at"),
        ("truncated", "is damaged"),
        ("flipped", "is damaged"),
        ("junk", "is damaged"),
        ("future", "has schema version 99"),
        ("kinds", "unknown kind 'no_such_kind'"),
        ("saved.npz", "is not a saved trace"),
        ("missing.npz", "no such file"),
    ],
)
def test_a_broken_trace(
    place: Folder, broken: Path, tree: Callable[..., set[str]], command: str, name: str, says: str
) -> None:
    line = unharmed(place, tree, command.format(broken / name))
    assert says in line
    assert name in line or name == "kinds"


def test_traces_says_what_is_damaged_and_shows_the_rest(place: Folder, broken: Path) -> None:
    assert "no trace store" in place.refused("traces", broken / "missing")
    assert place.run("traces", broken / "empty").exit_code == 0
    for name in ("truncated", "flipped", "future"):
        (summary,) = place.json("traces", broken / name, code=1)["hooks"]
        assert _part(broken / name).name in " ".join(summary["damaged"])
    assert "no hook 'nobody'" in place.refused("traces", broken / "kinds", "--hook", "nobody")


SHARED = [
    ("--hook nobody", "no hook 'nobody'"),
    ("--hook no_such_module:pick", "cannot import 'no_such_module:pick'"),
    ("--hook broken_module:pick", "ZeroDivisionError"),
    ("--hook not_syntax:pick", "SyntaxError"),
    ("--hook json:dumps", "is no hook"),
    ("--incumbent baseline:best", "no baseline 'best'"),
    ("--incumbent outside.py", "outside.py: line 1"),
    ("--incumbent binary.py", "binary.py"),
    ("--incumbent missing.py", "missing.py"),
    ("--incumbent whatever", "'whatever' is no policy"),
    ("--isolation jail", "'jail'"),
]


@pytest.mark.parametrize(
    "command", ["replay {}", "evolve --traces {}", "verify policy.py --traces {}"]
)
@pytest.mark.parametrize(("words", "says"), SHARED)
def test_a_hook_or_incumbent_that_cannot_be_used(
    place: Folder, store: Path, tree: Callable[..., set[str]], command: str, words: str, says: str
) -> None:
    assert says in unharmed(place, tree, f"{command.format(store)} {words}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("replay {} --policy outside.py", "outside.py: line 1"),
        ("replay {} --policy missing.py", "missing.py"),
        ("replay {} --policy baseline:best", "no baseline 'best'"),
        ("replay {} --replicas 1", "'--replicas'"),
        ("evolve --traces {} --budget -1", "--budget -1 evaluates no program"),
        ("evolve --traces {} --budget many", "'--budget'"),
        ("evolve --traces {} --budget 0", "--budget 0 evaluates no program; give 1"),
        ("evolve --traces {} --seconds -1", "--seconds -1 leaves no time"),
        ("evolve --traces {} --seconds nan", "--seconds nan"),
        ("evolve --traces {} --parallel 0", "--parallel 0: choose a number from 1 to 8"),
        ("evolve --traces {} --strategy best", "'best'"),
        ("evolve --traces {} --out file", "file: File exists"),
        ("verify missing.py --traces {}", "missing.py"),
        ("verify binary.py --traces {}", "binary.py"),
        ("verify policy.py --traces {} --against outside.py", "outside.py: line 1"),
        ("verify policy.py --traces {} --against missing.bundle", "missing.bundle"),
        ("verify policy.py --traces {} --against junk.bundle", "junk.bundle is no bundle"),
        ("verify policy.py --traces {} --against elsewhere.bundle", "is for hook 'other.pick'"),
        ("verify policy.py --traces {} --ledger file", "file is not a ledger"),
        ("verify policy.py --traces {} --ledger .", ". is not a ledger"),
        ("verify policy.py --traces {} --ledger cut.db", "cut.db is not a ledger"),
        ("verify policy.py --traces {} --ledger future.db", "version 99"),
        ("verify policy.py --traces {} --out .", ". cannot be written"),
        ("verify policy.py --traces {} --out file/v.json", "file: File exists"),
    ],
)
def test_arguments_about_a_trace(
    place: Folder, store: Path, tree: Callable[..., set[str]], words: str, says: str
) -> None:
    assert says in unharmed(place, tree, words.format(store))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("keys new ../up", "no plain file name"),
        ("keys new publisher --dir keys", "keys/publisher.pem exists"),
        ("keys new mine --dir file", "file: File exists"),
        ("keys new mine --role king", "'king'"),
        ("keys show missing.pub", "missing.pub"),
        ("keys show file", "file holds no public key"),
        ("audit verify --ledger missing.db", "missing.db does not exist"),
        ("audit list --ledger file", "file is not a ledger"),
        ("audit export --ledger cut.db", "cut.db is not a ledger"),
        ("audit explain abcdefgh --ledger future.db", "version 99"),
        ("audit explain short --ledger ledger.db", "'short' is too short"),
        ("audit list --limit -1 --ledger ledger.db", "'--limit'"),
        ("audit verify --anchor nonsense --ledger ledger.db", "is not SEQ:HASH"),
        ("audit export --ledger ledger.db --out file/x", "file: File exists"),
        ("no_such_command", "No such command"),
        ("replay --no-such-option", "No such option"),
    ],
)
def test_keys_audit_and_the_line_itself(
    place: Folder, tree: Callable[..., set[str]], words: str, says: str
) -> None:
    assert says in unharmed(place, tree, words)


SERVE = "serve --state cp --listen {} --rollout-key keys/{}.pem --publisher-key keys/{}.pub"


@pytest.mark.parametrize(
    ("listen", "words", "says"),
    [
        ("127.0.0.1:0", "--rollout-key missing.pem", "missing.pem"),
        ("127.0.0.1:0", "--rollout-key keys/open.pem", "chmod 600"),
        ("127.0.0.1:0", "--rollout-key keys/rollout.pub", "no private key"),
        ("127.0.0.1:0", "--publisher-key keys/publisher.pem", "no public key"),
        ("127.0.0.1:0", "--tls-cert file", "needs its private key"),
        ("127.0.0.1:0", "--tls-cert missing --tls-key missing", "cannot read missing"),
        ("127.0.0.1:0", "--state file", "file: File exists"),
        ("nowhere", "", "'nowhere'"),
        ("127.0.0.1:70000", "", "70000"),
        ("0.0.0.0:0", "", "plain text on 0.0.0.0:0 is refused"),
        ("0.0.0.0:0", "--tls-cert missing --tls-key missing", "--tls-client-ca"),
        ("127.0.0.1:0", "--publisher-key keys/rollout.pub", "is a rollout key"),
    ],
)
def test_a_control_plane_that_cannot_start(
    place: Folder, listen: str, words: str, says: str
) -> None:
    line = place.refused(*SERVE.format(listen, "rollout", "publisher").split(), *words.split())
    assert says in line


@pytest.mark.parametrize(
    ("name", "says"), [("ledger.db", "is not a ledger"), ("rollouts.db", "store")]
)
def test_a_control_plane_with_damaged_state(place: Folder, name: str, says: str) -> None:
    Path("cp").mkdir()
    (Path("cp") / name).write_text("junk" * 500)
    line = place.refused(*SERVE.format("127.0.0.1:0", "rollout", "publisher").split())
    assert says in line and name in line
    assert (Path("cp") / name).read_text() == "junk" * 500


@pytest.mark.parametrize("command", ["serve", "record"])
def test_a_port_in_use_and_a_ready_file_that_cannot_be_written(place: Folder, command: str) -> None:
    words = SERVE if command == "serve" else "record --store traces --listen {}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {address}" in place.refused(
            *words.format(address, "rollout", "publisher").split()
        )
    started = words.format("127.0.0.1:0", "rollout", "publisher").split()
    done = place.run(*started, "--ready-file", "file/ready")
    assert done.exit_code == 2
    assert "file" in done.stderr.splitlines()[-1] and "Traceback" not in done.output


SHIP = "ship {} --verdict {} --key keys/{}.pem --ledger ledger.db --control-plane {}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (SHIP.format("missing.py", "verdict.json", "publisher", DOWN), "missing.py"),
        (SHIP.format("other.py", "verdict.json", "publisher", DOWN), "verify this policy"),
        (SHIP.format("junk.bundle", "verdict.json", "publisher", DOWN), "junk.bundle is no bundle"),
        (SHIP.format("mine.bundle", "elsewhere.json", "publisher", DOWN), "another verdict"),
        (SHIP.format("policy.py", "missing.json", "publisher", DOWN), "missing.json"),
        (SHIP.format("policy.py", "edited.json", "publisher", DOWN), "edited.json was edited"),
        (
            SHIP.format("policy.py", "cut.json", "publisher", DOWN),
            "cut.json is no verdict, or a damaged one",
        ),
        (SHIP.format("policy.py", "refused.json", "publisher", DOWN), "refused: Worse."),
        (SHIP.format("policy.py", "gateless.json", "publisher", DOWN), "full list of gates"),
        (SHIP.format("policy.py", "later.json", "publisher", DOWN), "v99"),
        (SHIP.format("policy.py", "unknown.json", "publisher", DOWN), "'no_such_kind'"),
        (SHIP.format("policy.py", "verdict.json", "missing", DOWN), "missing.pem"),
        (SHIP.format("policy.py", "verdict.json", "open", DOWN), "chmod 600"),
        (SHIP.format("policy.py", "verdict.json", "publisher", "nowhere"), "'nowhere'"),
        (SHIP.format("policy.py", "verdict.json", "publisher", "h:70000"), "h:70000"),
        (SHIP.format("policy.py", "verdict.json", "publisher", "10.1.1.1:1"), "plain text"),
        (SHIP.format("mine.bundle", "verdict.json", "publisher", DOWN) + " --override x", "signed"),
    ],
)
def test_what_cannot_be_shipped(
    place: Folder, tree: Callable[..., set[str]], words: str, says: str
) -> None:
    assert says in unharmed(place, tree, words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--ledger missing.db", "missing.db does not exist"),
        ("--ledger cut.db", "cut.db is not a ledger"),
        ("--rollout-key missing.pub", "missing.pub"),
        ("--rollout-key keys/publisher.pem", "no public key"),
        ("--rollout-key keys/publisher.pub", "is a publisher key"),
        ("--weights a,b", "are no numbers"),
        ("--weights nan,1", "--weights nan,1 must ascend"),
        ("--weights 0.9,1.0", "--weights 0.9,1.0 must ascend"),
        ("--block soon", "--block 'soon' is no duration"),
        ("--block 2", "--block '2' is no duration without a unit; write 2s"),
        ("--valid 0s", "--valid 0s must be above 0"),
        ("--block 0s", "--block 0s must be above 0"),
        ("--block 9000000d", "--block 9000000d must be"),
        ("--burn-in 20s", "make the block longer"),
        ("--soak -1s", "'-1s' is no duration"),
        ("--lease 0s", "--lease 0s must be above 0"),
        ("--min-pairs 99", "raise --max-pairs"),
        ("--min-pairs -1", "--min-pairs -1"),
        ("--max-pairs 99999999999", "--max-pairs 99999999999"),
        ("--alpha nan", "--alpha nan"),
        ("--alpha 2", "--alpha 2 "),
        ("--shadow-rate 7", "--shadow-rate 7"),
        ("--shadow-decisions -1", "--shadow-decisions -1"),
    ],
)
def test_a_ramp_that_cannot_be_carried_out(
    place: Folder, tree: Callable[..., set[str]], words: str, says: str
) -> None:
    shipped = SHIP.format("policy.py", "verdict.json", "publisher", DOWN)
    assert says in unharmed(place, tree, f"{shipped} {words}")


@pytest.mark.parametrize(
    "words",
    [
        SHIP.format("policy.py", "verdict.json", "publisher", DOWN) + " --bundle-out out.bundle",
        *(f"rollout {order} --control-plane {DOWN}" for order in ("status", "watch", "clients")),
        *(
            f"rollout {order} --control-plane {DOWN}"
            for order in ("hold", "abort", "retry", "kill")
        ),
        f"rollout exclude {HOOK} --from-ns 1 --to-ns 2 --reason x --control-plane {DOWN}",
        *(f"audit {what} --control-plane {DOWN}" for what in ("verify", "list", "export")),
        f"audit explain abcdefgh --control-plane {DOWN}",
    ],
)
def test_a_control_plane_that_is_down(
    place: Folder, tree: Callable[..., set[str]], words: str
) -> None:
    assert f"control plane {DOWN} does not answer; start it" in unharmed(place, tree, words, code=4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            SHIP.format("policy.py", "verdict.json", "other", "{}"),
            "publisher key keys/other.pem (keyid ",
        ),
        (
            SHIP.format("stranger.bundle", "verdict.json", "publisher", "{}"),
            "the key that signed stranger.bundle is not trusted",
        ),
        (
            SHIP.format("policy.py", "verdict.json", "publisher", "{}")
            + " --rollout-key keys/other.pub",
            "rollout key",
        ),
        ("rollout status no-such-rollout --control-plane {}", "no rollout 'no-such-rollout'"),
        ("rollout hold no-such-rollout --control-plane {}", "no rollout 'no-such-rollout'"),
        ("rollout exclude nobody --from-ns 1 --to-ns 2 --reason x --control-plane {}", "'nobody'"),
    ],
)
def test_what_the_control_plane_refuses(
    place: Folder, control_plane: str, tree: Callable[..., set[str]], words: str, says: str
) -> None:
    assert says in unharmed(place, tree, words.format(control_plane))


def test_a_policy_past_the_gates_leaves_its_reason_in_the_ledger(
    place: Folder, control_plane: str
) -> None:
    there = ("--control-plane", control_plane)
    words = SHIP.format("policy.py", "refused.json", "publisher", control_plane).split()
    made = place.json(*words, "--override", "drill", "--bundle-out", "o.bundle")
    assert made["state"] == "SHADOW"
    entries = place.json("audit", "list", "--kind", "rollout.created", *there)
    provenance = entries[-1]["body"]["provenance"]
    assert (provenance["override"], provenance["verdict"]) == ("drill", "refused")
    again = place.refused(*words, "--override", "drill")
    assert "gnomon rollout abort" in again
    assert place.json("rollout", "abort", *there)["state"] == "ABORTED"
    assert place.json(*words[:1], "o.bundle", *words[2:], "--override", "drill")["attempt"] == 1
    lines = place.run("rollout", "abort", *there, "--json").stdout
    assert json.loads(lines)["state"] == "ABORTED"
