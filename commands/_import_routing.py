"""``gnomon traces import`` of recorded routing: what is particular to expert placements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from ._common import console, emit
from ._wanted import Wanted

if TYPE_CHECKING:
    from ..recorder.importers import Deployment, ImportedLoads

#: What nothing in a file says, as an example of each.
_NEEDED = ("slots=72", "ranks=8")


def run(wanted: Wanted) -> None:
    """Import recorded routing and say what it came to; raises as the importer does."""
    from ..recorder import importers

    wanted.only_for_caches()
    if wanted.limit is not None:
        raise ConfigurationError(
            f"--limit {wanted.limit}: routing is read whole; choose windows with --set window=N"
        )
    deployment = deployment_of(wanted.settings)
    found = importers.import_loads(
        wanted.opened(), wanted.format, wanted.files, wanted.hook, deployment
    )
    emit(
        asdict(found) | {"store": wanted.store},
        wanted.as_json,
        lambda: _show(found, deployment, wanted.store),
    )


def deployment_of(settings: Sequence[str]) -> Deployment:
    """Return what ``--set NAME=N`` says; raises ConfigurationError for anything else."""
    from ..recorder.importers import Deployment

    known = [field.name for field in fields(Deployment)]
    given: dict[str, int] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known or not value.isascii() or not value.isdigit():
            raise ConfigurationError(
                f"--set {setting} is no setting of a deployment; give NAME=N with one of {', '.join(known)}"
            )
        given[name] = int(value)
    missing = [each for each in _NEEDED if each.partition("=")[0] not in given]
    if missing:
        names = " and ".join(each.partition("=")[0] for each in missing)
        raise ConfigurationError(
            f"nothing says how many {names} the deployment has; give --set {' --set '.join(missing)}"
        )
    return Deployment(**given)


def _show(found: ImportedLoads, deployment: Deployment, out: str) -> None:
    printed = console()
    printed.print(
        f"{found.windows} windows of {deployment.window} over {found.layers} layers of {found.experts} "
        f"experts as hook {found.hook} of {out}, for {deployment.slots} slots on {deployment.ranks} ranks"
    )
    if found.left_over:
        printed.print(f"{found.left_over} at the ends of files fill no window and are left out")
