"""``gnomon regressions``: decisions that candidates once got wrong, listed, asked again, removed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _trace
from ._common import Exit, console, emit, folded, handled

if TYPE_CHECKING:
    from ..shadow.gates.again import Again
    from ..shadow.gates.regressions import Stored

Folder = Annotated[Path, typer.Option("--dir", help="Folder of the cases.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DEFAULT = Path(".gnomon/regressions")


def register(app: typer.Typer) -> None:
    """Add the group ``regressions`` to the command line."""
    group = typer.Typer(
        help="Decisions that candidates got wrong: list, replay, remove.", no_args_is_help=True
    )
    group.command("list")(handled(list_cases))
    group.command("replay")(handled(replay))
    group.command("remove")(handled(remove))
    app.add_typer(group, name="regressions")


def list_cases(
    hook: Annotated[str, typer.Option(help="Only of this hook.")] = "",
    folder: Folder = DEFAULT,
    as_json: Json = False,
) -> None:
    """List the stored cases, damaged ones among them."""
    from ..shadow.gates.regressions import Regressions

    kept = Regressions(folder)
    found = kept.of(hook) if hook else kept.all()
    emit([each.as_json() for each in found], as_json, lambda: _print(found, folder))


def replay(
    hook: Annotated[
        str, typer.Option(help="Its name, or module:attribute, which gives its own invariants.")
    ],
    policy: Annotated[
        Path | None, typer.Argument(help="Source to ask; each case's own candidate if left out.")
    ] = None,
    invariants: _trace.Invariants = None,
    folder: Folder = DEFAULT,
    isolation: _trace.Isolation = "strict",
    as_json: Json = False,
) -> None:
    """Ask a hook's stored cases again: 0 all kept, 1 one is broken, 3 none could be asked."""
    from ..sdk.isolation.layers import known_mode
    from ..shadow.gates.again import Again, replayed
    from ..shadow.gates.regressions import Regressions
    from ..shadow.opening import contract_of
    from ..shadow.policy import source_of

    mode, source = known_mode(isolation), source_of(policy) if policy else ""
    kept = Regressions(folder)
    name = contract_of(hook, None).hook
    stored = kept.of(name)
    kind = next((each.case.kind for each in stored if each.case), None)
    contract = contract_of(hook, kind, invariants)
    if contract.kind is None:
        found = tuple(Again(each, "not asked", each.problem) for each in stored)
    else:
        found = replayed(stored, contract.kind, contract.invariants, mode, source)
    emit([each.as_json() for each in found], as_json, lambda: _print_again(found, name, folder))
    raise typer.Exit(int(_exit(found)))


def remove(
    digest: Annotated[str, typer.Argument(help="Of the case; 8 characters are enough.")],
    folder: Folder = DEFAULT,
    as_json: Json = False,
) -> None:
    """Remove a case, which is not asked any more; one that is found again comes back."""
    from ..shadow.gates.regressions import Regressions

    path = Regressions(folder).remove(digest)
    emit({"removed": str(path)}, as_json, lambda: print(f"removed {path}"))


def _exit(found: tuple[Again, ...]) -> Exit:
    answers = {each.answer for each in found}
    if answers & {"broken", "stopped"}:
        return Exit.NEGATIVE
    return Exit.OK if "kept" in answers or not found else Exit.INCONCLUSIVE


def _print(found: tuple[Stored, ...], folder: Path) -> None:
    if not found:
        print(f"no cases in {folder}")
        return
    from rich.table import Table

    table = Table("case", "hook", "broken", "gate", "found", "problem")
    for each in found:
        case = each.case
        words = ("-",) * 4
        if case is not None:
            broken = case.invariant or "two answers"
            words = (case.hook, broken, case.gate, _day(case.created_ns))
        table.add_row(each.path.stem[:16], *words, each.problem)
    console().print(folded(table))


def _print_again(found: tuple[Again, ...], hook: str, folder: Path) -> None:
    if not found:
        print(f"no cases of hook {hook} in {folder}")
        return
    from rich.table import Table

    table = Table("case", "answer", "what")
    for each in found:
        table.add_row(each.stored.path.stem[:16], each.answer, each.detail)
    console().print(folded(table))


def _day(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "-"
