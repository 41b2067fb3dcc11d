"""``gnomon serve``: the control plane."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.state import write_atomically
from ._common import emit, handled
from ._rollout import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from ..policies.rollout.server import ControlPlane

_RolloutKeys = Annotated[
    list[Path],
    typer.Option(help="Private key (.pem) that signs manifests; later ones for older plans."),
]
_PublisherKeys = Annotated[
    list[Path],
    typer.Option(help="Public key (.pub) that may sign bundles, or folder; repeatable."),
]
_Authorities = Annotated[
    Path | None, typer.Option(help="PEM authorities that must vouch for clients (mTLS).")
]
_Roles = Annotated[
    Path | None, typer.Option(help="TOML file: which client certificate may do what.")
]
_Insecure = Annotated[
    bool,
    typer.Option(help="Allow clients without certificate, and plain text, from elsewhere."),
]


def register(app: typer.Typer) -> None:
    """Add ``serve`` to the command line."""
    app.command("serve")(handled(serve))


def serve(
    rollout_key: _RolloutKeys,
    publisher_key: _PublisherKeys,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = (
        DEFAULT_ADDRESS
    ),
    state: Annotated[Path, typer.Option(help="Folder of the store and the ledger.")] = Path(
        ".gnomon/control-plane"
    ),
    ready_file: Annotated[
        Path | None, typer.Option(help="File that receives the bound address once ready.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate; turns TLS on.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    tls_client_ca: _Authorities = None,
    roles: _Roles = None,
    insecure: _Insecure = False,
    verbose: Annotated[bool, typer.Option(help="Log every ledger entry with its anchor.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the bound address as JSON when ready.")
    ] = False,
) -> None:
    """Serve policies to running services and steer rollouts, until SIGTERM or SIGINT."""
    import asyncio
    import logging

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ..policies.rollout import server
    from ..policies.rollout.settings import ServerSettings
    from ..sdk import keys
    from ..sdk.keyring import KeyRing

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr)
    ring = KeyRing(publisher_key)
    pins = ring.read()
    signing, *older = [keys.load_private(path) for path in rollout_key]
    settings = ServerSettings(
        listen=listen,
        state=state,
        rollout_key=signing,
        publishers=pins.publishers,
        certificate=tls_cert,
        private_key=tls_key,
        client_authorities=tls_client_ca,
        insecure=insecure,
        roles=roles,
        names=pins.names,
        older_rollout_keys=tuple(older),
        revoked=pins.revoked,
        keyring=ring,
    )
    host = listen.rpartition(":")[0]
    asyncio.run(server.serve(settings, lambda plane: _ready(plane, host, ready_file, as_json)))


def _ready(plane: ControlPlane, host: str, ready_file: Path | None, as_json: bool) -> None:
    address = f"{host}:{plane.port}"
    line = f"control plane on {address}, state in {plane.settings.state}"
    if ready_file is not None:
        write_atomically(ready_file, address.encode())
    print(line, file=sys.stderr, flush=True)
    emit({"listening": address}, as_json, lambda: None)
    sys.stdout.flush()
