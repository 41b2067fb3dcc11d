"""What operators mistype: one line that names it and says what to do, the right exit code, nothing changed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.commands._common import Exit
from gnomon.commands._rollout import exit_code
from gnomon.policies.rollout.client import RolloutClient
from gnomon.sdk import keys
from gnomon.sdk.errors import UnavailableError
from gnomon.shadow.report.rollouts import Rollout, Shipped, Upkeep
from gnomon.v1 import rollouts_pb2

from .certificates import Authority
from .test_commands import Place, place

__all__ = ["place"]


def refused(result: Any) -> str:
    """Return the one line of a refusal."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    line = str(result.stderr)
    assert line.startswith("gnomon: ") and line.count("\n") == 1, line
    return line


@pytest.mark.parametrize("order", ["kill", "promote"])
def test_a_blank_reason_is_none(place: Place, order: str) -> None:
    place.ship(place.verdict())
    place.run("rollout", "hold", "--reason", "lunch")
    assert "needs a reason" in refused(place.run("rollout", order, "--reason", "  "))
    assert place.json("rollout", "status")["state"] == "HOLD"


def test_times_that_no_message_can_carry_are_no_times(place: Place) -> None:
    stretch = ("--from-ns", "1", "--to-ns", str(1 << 63), "--reason", "deploy")
    beyond = place.run("rollout", "exclude", "router.pick", *stretch)
    assert (beyond.exit_code, "'--to-ns'" in beyond.stderr) == (2, True), beyond.output
    blank = ("--from-ns", "1", "--to-ns", "2", "--reason", " ")
    place.ship(place.verdict())
    assert "needs a reason" in refused(place.run("rollout", "exclude", "router.pick", *blank))


def test_files_that_were_named_are_missed_before_those_that_were_not(place: Place) -> None:
    verdict = place.verdict()
    nowhere = ("--ledger", str(place.folder / "nowhere.db"))
    key = ("--key", str(place.folder / "publisher.pem"))
    for words in (("ship", str(place.policy)), ("rollout", "reverified", "router.pick")):
        gone = place.run(*words, "--verdict", "gone.json", *key, *nowhere)
        assert "gone.json cannot be read" in refused(gone)
        keyless = place.run(*words, "--verdict", str(verdict), "--key", "gone.pem", *nowhere)
        assert "cannot read key gone.pem" in refused(keyless)


def test_another_file_is_no_verdict(place: Place) -> None:
    place.verdict()
    assert f"{place.policy} is no verdict, or a damaged one; name the file" in refused(
        place.ship(place.policy)
    )


def test_a_second_rollout_is_told_how_to_end_the_first(place: Place) -> None:
    place.ship(place.verdict())
    assert "is SHADOW; wait for its end, or: gnomon rollout abort" in refused(
        place.ship(place.verdict())
    )


def test_a_verdict_on_a_policy_that_was_withdrawn_is_not_said_to_be_on_the_function(
    place: Place,
) -> None:
    place.ship(place.verdict(profile={"decisions": 1, "until_ns": 1, "features": ()}))
    place.run("rollout", "kill", "--reason", "drill")
    words = ("rollout", "reverified", "router.pick", "--verdict")
    said = refused(
        place.run(
            *(*words, str(place.folder / "verdict.json")),
            *("--key", str(place.folder / "publisher.pem")),
            *("--ledger", str(place.folder / "ledger.db")),
        )
    )
    assert "hook 'router.pick' has no policy in force, its own function decides" in said


def test_signing_again_says_what_is_missing(place: Place) -> None:
    place.ship(place.verdict())
    folder = place.folder
    keys.save(keys.generate(), folder, "new", "publisher")
    old = ("--old", str(folder / "publisher.pub"))
    early = place.run("keys", "resign", "--key", str(folder / "new.pem"), *old)
    assert "does not trust the new key" in (said := refused(early))
    assert "pin its .pub there first" in said
    own = ("keys", "resign", "--key", str(folder / "publisher.pem"), *old)
    assert "'router.pik' has nothing in force" in refused(place.run(*own, "--hook", "router.pik"))


def test_nobody_has_decided_in_the_future(place: Place) -> None:
    said = refused(place.run("audit", "who", "router.pick", "--at", "2999-01-01T12:03"))
    assert "'2999-01-01T12:03' lies ahead of " in said and "times are UTC" in said


def test_one_ledger_is_asked(place: Place) -> None:
    both = place.run("audit", "list", "--ledger", str(place.folder / "ledger.db"))
    assert f"--control-plane {place.address}: name one of them" in refused(both)


def test_a_file_s_name_says_its_format(place: Place, tmp_path: Path) -> None:
    for name in ("a.csv", "a.txt"):
        said = refused(place.run("audit", "export", "--out", str(tmp_path / name)))
        assert f"{name} is no export; end its name in .jsonl or .parquet" in said
        assert not (tmp_path / name).exists()
    forced = ("--out", str(tmp_path / "a.txt"), "--format", "jsonl")
    assert place.run("audit", "export", *forced).exit_code == 0


@contextmanager
def hanging_up() -> Iterator[str]:
    """A server that takes connections and closes them, as one does that was sent plain text instead of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_control_plane_that_is_there_is_not_to_be_started(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        hanging_up() as address,
        RolloutClient(address) as client,
        pytest.raises(UnavailableError, match="hangs up at once.*GNOMON_TLS_ROOT"),
    ):
        client.list()
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    certificate, private = Authority(tmp_path).issue("ci")
    for name, path in (("ROOT", tmp_path / "ca.pem"), ("CERT", certificate), ("KEY", private)):
        monkeypatch.setenv(f"GNOMON_TLS_{name}", str(path))
    for address, said in (
        (place.address, "is there, but TLS with it fails"),
        ("127.0.0.1:1", "does not answer; start it"),
    ):
        with RolloutClient(address) as client, pytest.raises(UnavailableError, match=said):
            client.list()


NOTICED = Upkeep(1, 2, 0.25, {}, 7, "drifted: its workload moved away", 3, "incumbent", "")


def test_a_promotion_with_a_notice_is_open_to_whoever_waits_for_it() -> None:
    promoted = Rollout.of(rollouts_pb2.Rollout(state=rollouts_pb2.STABLE))
    assert exit_code(promoted) == Exit.OK
    assert exit_code(replace(promoted, upkeep=replace(NOTICED, notice=""))) == Exit.OK
    assert exit_code(replace(promoted, upkeep=NOTICED)) == Exit.INCONCLUSIVE
    aborted = replace(promoted, state="ABORTED", upkeep=NOTICED)
    assert exit_code(aborted) == Exit.NEGATIVE


def test_shipping_says_until_when(place: Place) -> None:
    shown = place.ship(place.verdict(), "--expires", "36h").stdout
    assert "verify it again after 1.5 days or when its traffic moves (index above 0.25)" in shown
    assert "without that, the function decides again 14 days later" in shown
    rollout = Rollout.of(rollouts_pb2.Rollout())
    assert "justified for ever" in Shipped(rollout, "h:1", "v", (1.0,)).afterwards
    kept = Shipped(rollout, "h:1", "v", (1.0,), None, 90.0, 0.0, 30.0, "keep").afterwards
    assert kept == "verify it again after 1.5 minutes; without that, it goes on 30 seconds later"
