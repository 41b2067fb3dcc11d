"""Keys as files, and the commands around them."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
import typer
from typer.testing import CliRunner

from gnomon.commands import keys as command
from gnomon.sdk import keys
from gnomon.sdk.errors import ConfigurationError

RFC8032_SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC8032_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_raw_key_and_keyid_are_those_of_rfc_8032() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC8032_SECRET))
    public = private.public_key()
    assert keys.raw(public).hex() == RFC8032_PUBLIC
    assert keys.keyid(public) == hashlib.sha256(bytes.fromhex(RFC8032_PUBLIC)).hexdigest()
    assert keys.raw(keys.from_raw(bytes.fromhex(RFC8032_PUBLIC))).hex() == RFC8032_PUBLIC


def test_saved_keys_load_and_sign(tmp_path) -> None:
    private, public = keys.save(keys.generate(), tmp_path / "new", "prod", "rollout")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    signature = keys.load_private(private).sign(b"message")
    assert keys.valid(keys.load_public(public), signature, b"message")
    assert not keys.valid(keys.load_public(public), signature, b"massage")
    found = keys.describe(public)
    assert (found.name, found.role, found.private) == ("prod", "rollout", True)
    assert found.keyid == keys.keyid(keys.load_public(public))


def test_existing_keys_are_never_overwritten(tmp_path) -> None:
    private, public = keys.save(keys.generate(), tmp_path, "prod", "publisher")
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(ConfigurationError, match="exists"):
        keys.save(keys.generate(), tmp_path, "prod", "publisher")
    private.unlink()
    with pytest.raises(ConfigurationError, match="exists"):
        keys.save(keys.generate(), tmp_path, "prod", "publisher")
    assert public.read_bytes() == before[1]
    assert not private.exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a\0b"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, name) -> None:
    with pytest.raises(ConfigurationError, match="plain file name"):
        keys.save(keys.generate(), tmp_path, name, "publisher")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_private_key_open_to_others_is_refused(tmp_path, mode) -> None:
    private, _ = keys.save(keys.generate(), tmp_path, "prod", "publisher")
    private.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys.load_private(private)


def test_files_that_hold_no_key_are_named(tmp_path) -> None:
    private, public = keys.save(keys.generate(), tmp_path, "prod", "publisher")
    with pytest.raises(ConfigurationError, match="no public key"):
        keys.load_public(private)
    public.chmod(0o600)
    with pytest.raises(ConfigurationError, match="no private key"):
        keys.load_private(public)
    with pytest.raises(ConfigurationError, match=r"nowhere\.pub"):
        keys.load_public(tmp_path / "nowhere.pub")
    with pytest.raises(ConfigurationError, match="32 bytes"):
        keys.from_raw(b"short")


def test_another_algorithm_is_refused(tmp_path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    other = X25519PrivateKey.generate()
    private, public = tmp_path / "x.pem", tmp_path / "x.pub"
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for load, path in ((keys.load_private, private), (keys.load_public, public)):
        with pytest.raises(ConfigurationError, match="no ed25519 key"):
            load(path)


def test_a_key_of_another_role_is_refused(tmp_path) -> None:
    _, public = keys.save(keys.generate(), tmp_path, "prod", "rollout")
    assert keys.load_publics([public], "rollout") == (keys.load_public(public),)
    for load in (lambda: keys.load_public(public, "publisher"), lambda: _publishers(public)):
        with pytest.raises(ConfigurationError, match=r"prod\.pub is a rollout key"):
            load()


def test_a_key_without_a_heading_is_taken_for_any_role(tmp_path) -> None:
    _, public = keys.save(keys.generate(), tmp_path, "prod", "rollout")
    text = public.read_text()
    public.write_text(text[text.index("-----BEGIN") :])
    assert keys.load_public(public, "publisher") == keys.load_public(public, "rollout")


def test_one_key_in_both_roles_is_refused() -> None:
    one, other = keys.generate().public_key(), keys.generate().public_key()
    keys.check_separate(one, [other])
    with pytest.raises(ConfigurationError, match="as rollout and as publisher"):
        keys.check_separate(one, [other, keys.from_raw(keys.raw(one))])


def test_a_service_pins_no_rollout_key_as_publisher(tmp_path) -> None:
    from gnomon.sdk.configure import configure

    _, public = keys.save(keys.generate(), tmp_path, "prod", "rollout")
    with pytest.raises(ConfigurationError, match="is a rollout key"):
        configure(publisher_keys=[public], control_plane="127.0.0.1:1")


def _publishers(*paths):
    return keys.load_publics(paths, "publisher")


@pytest.fixture
def run():
    """Run ``gnomon keys`` with arguments; returns the click result."""
    app = typer.Typer()
    command.register(app)
    return lambda *arguments: CliRunner().invoke(app, ["keys", *map(str, arguments)])


def test_command_makes_lists_and_shows(tmp_path, run) -> None:
    made = run("new", "prod", "--dir", tmp_path, "--role", "rollout", "--json")
    assert made.exit_code == 0, made.output
    data = json.loads(made.stdout)
    assert data["role"] == "rollout"
    assert data["keyid"] == keys.keyid(keys.load_private(data["private"]).public_key())
    run("new", "app", "--dir", tmp_path)
    listed = json.loads(run("list", "--dir", tmp_path, "--json").stdout)
    assert [row["name"] for row in listed] == ["app", "prod"]
    shown = json.loads(run("show", data["public"], "--json").stdout)
    assert shown["raw"] == keys.raw(keys.load_public(data["public"])).hex()
    table = run("list", "--dir", tmp_path).stdout
    assert "prod" in table
    assert "publisher" in table
    assert shown["keyid"] in run("show", data["public"]).stdout


def test_command_says_what_is_wrong_in_one_line(tmp_path, run) -> None:
    assert run("new", "prod", "--dir", tmp_path).exit_code == 0
    again = run("new", "prod", "--dir", tmp_path)
    assert again.exit_code == 2
    assert "exists" in again.output
    assert len(again.output.strip().splitlines()) == 1
    assert run("show", tmp_path / "no.pub").exit_code == 2
    assert "no keys" in run("list", "--dir", tmp_path / "empty").stdout
