"""``gnomon keys``: make and show the keys that publishers and control planes sign with."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _rollout
from ._common import console, emit, folded, handled

if TYPE_CHECKING:
    from ..sdk.keys import KeyFile

DEFAULT_FOLDER = Path(".gnomon/keys")

Folder = Annotated[Path, typer.Option("--dir", help="Folder of the keys.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


class RoleName(str, Enum):
    """What a key may sign."""

    publisher = "publisher"
    rollout = "rollout"


def register(app: typer.Typer) -> None:
    """Add the group ``keys`` to the command line."""
    group = typer.Typer(help="Make and show signing keys.", no_args_is_help=True)
    group.command("new")(handled(new))
    group.command("list")(handled(list_keys))
    group.command("show")(handled(show))
    group.command("revoke")(handled(revoke))
    group.command("resign")(handled(resign))
    app.add_typer(group, name="keys")


def new(
    name: Annotated[str, typer.Argument(help="Name of the key; the files are NAME.pem, NAME.pub.")],
    folder: Folder = DEFAULT_FOLDER,
    role: Annotated[
        RoleName, typer.Option(help="publisher signs bundles and plans, rollout signs manifests.")
    ] = RoleName.publisher,
    as_json: Json = False,
) -> None:
    """Make an ed25519 key pair; existing files are never overwritten."""
    from ..sdk import keys

    private, public = keys.save(keys.generate(), folder, name, role.value)
    data = _row(keys.describe(public)) | {"private": str(private)}
    emit(data, as_json, lambda: _print_new(data))


def list_keys(folder: Folder = DEFAULT_FOLDER, as_json: Json = False) -> None:
    """List the public keys in a folder."""
    from ..sdk import keys

    rows = [_row(found) for found in keys.listing(folder)]
    emit(rows, as_json, lambda: _print_table(rows, folder))


def show(
    path: Annotated[Path, typer.Argument(help="A public key file (.pub).")], as_json: Json = False
) -> None:
    """Show a public key file: role, keyid and raw bytes."""
    from ..sdk import keys

    data = _row(keys.describe(path)) | {"raw": keys.raw(keys.load_public(path)).hex()}
    emit(data, as_json, lambda: _print_fields(data))


def revoke(
    path: Annotated[Path, typer.Argument(help="A public key file (.pub).")], as_json: Json = False
) -> None:
    """Revoke a key: rename its file to .revoked, which whoever reads this folder obeys within a second."""
    from ..sdk import keys

    found = keys.describe(path)
    data = {"revoked": str(keys.revoke(path)), "keyid": found.keyid, "role": found.role}
    emit(data, as_json, lambda: _print_fields(data))


def resign(
    key: Annotated[Path, typer.Option(help="The new publisher's private key (.pem).")],
    old: Annotated[
        list[Path], typer.Option(help="Public key (.pub) whose signatures you trust; repeatable.")
    ],
    hook: Annotated[str, typer.Option(help="Only this hook; all when left out.")] = "",
    rollout_key: Annotated[
        Path | None, typer.Option(help="Public key that may sign manifests from now on.")
    ] = None,
    control_plane: _rollout.Address = _rollout.DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Sign again, with a new key, the plans and bundles that are in force."""
    from .. import api
    from ..policies.rollout import resigning
    from ..sdk import keys

    rollout = keys.load_public(rollout_key, "rollout") if rollout_key else None
    trusted = keys.load_publics(old, "publisher")
    private = keys.load_private(key)
    with _rollout.connect(control_plane) as client:
        found = resigning.resign(
            client, private, trusted, api.acting(), hook=hook, rollout_key=rollout
        )
    rows = [one._asdict() for one in found]
    emit(rows, as_json, lambda: _print_resigned(rows))


def _print_resigned(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("nothing is in force, so nothing was signed")
    for row in rows:
        bundles = ", ".join(digest[:16] for digest in row["bundles"])
        print(f"{row['hook']}: plan {row['rollout']} and bundles {bundles} signed again")


def _row(found: KeyFile) -> dict[str, Any]:
    return {
        "name": found.name,
        "role": found.role,
        "keyid": found.keyid,
        "public": str(found.path),
        "private_at_hand": found.private,
    }


def _print_new(data: dict[str, Any]) -> None:
    print(f"private key  {data['private']}  (mode 0600; keep it off the services)")
    print(f"public key   {data['public']}  (pin this one)")
    print(f"keyid        {data['keyid']}")


def _print_fields(data: dict[str, Any]) -> None:
    for name, value in data.items():
        print(f"{name.replace('_', ' '):16}{value}")


def _print_table(rows: list[dict[str, Any]], folder: Path) -> None:
    from rich.table import Table

    if not rows:
        print(f"no keys in {folder}; make one with: gnomon keys new NAME --dir {folder}")
        return
    table = Table("name", "role", "private", "keyid")
    for row in rows:
        table.add_row(
            row["name"], row["role"], "yes" if row["private_at_hand"] else "", row["keyid"]
        )
    console().print(folded(table))
