"""The checks of `gnomon doctor`: each a small function of a machine; none needs more than the base install."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..sdk import config
from ..sdk.channel import Peer
from ..sdk.errors import ConfigurationError, GnomonError, IsolationError, UnavailableError
from ..sdk.isolation.layers import MISSING, ONLY_ROOT
from ..sdk.kill import KillFile
from ..shadow.report.shown import Part, Shown, Table
from ._probes import Machine, standing

Answer = Literal["ok", "not installed", "warn", "fail"]

KEYS = Path(".gnomon/keys")
#: Variables of Gnomon's own beside those that a service's settings are read from.
OTHERS = ("ACTOR", "MODULES", "TLS_ROOT", "TLS_CERT", "TLS_KEY", "TLS_INSECURE")
_LEAST_FREE, _LITTLE_FREE = 100 << 20, 1 << 30
_SKEW_S = 0.25  # what a ramp plan leaves at the end of a block by default
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;.*extra\s*==\s*['\"](\w+)['\"])?"
)
_BOUND = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9][0-9.]*)")
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda found, bound: found >= bound,
    "<=": lambda found, bound: found <= bound,
    "==": lambda found, bound: found == bound,
    "!=": lambda found, bound: found != bound,
    "<": lambda found, bound: found < bound,
    ">": lambda found, bound: found > bound,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of it.
        answer: ``ok``, ``not installed`` (an extra that not every machine needs), ``warn`` (works, with
            less) or ``fail``.
        found: what was found, in one line.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    answer: Answer
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis(Shown):
    """What `gnomon doctor` found; ``ok`` is whether nothing fails."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing fails."""
        return all(check.answer != "fail" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return the checks as JSON values."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: a table, and the remedies under it."""
        rows = tuple((check.name, check.answer, check.found) for check in self.checks)
        told = (f"{c.name}: {c.remedy}" for c in self.checks if c.remedy and c.answer != "ok")
        return (Table(("check", "answer", "found"), rows, prose=True), *told)


def diagnose(machine: Machine, control_plane: str = "", otlp_endpoint: str = "") -> Diagnosis:
    """Look at a machine.

    Args:
        machine: asked.
        control_plane: ``host:port``; as in ``GNOMON_CONTROL_PLANE`` when empty.
        otlp_endpoint: as in ``OTEL_EXPORTER_OTLP_ENDPOINT`` when empty.
    """
    values, variables = settings(machine)
    plane = control_plane or str(values.get("control_plane", ""))
    endpoint = otlp_endpoint or str(values.get("otlp_endpoint", ""))
    return Diagnosis(
        (
            interpreter(machine),
            *packages(machine),
            isolation(machine),
            clock(machine),
            *keys(machine, values),
            state(machine, Path(str(values.get("state_dir", ".gnomon")))),
            *stopped(Path(str(values.get("state_dir", ".gnomon")))),
            control(machine, plane),
            recorder(machine, endpoint),
            compiled(machine),
            *variables,
            modules(machine),
            forks(machine),
        )
    )


def interpreter(machine: Machine) -> Check:
    """Check Python and the system: CPython 3.11 to 3.13 on Linux x86-64 is what is tested in full."""
    (name, version), (system, processor) = machine.python, machine.system
    found = f"{name} {'.'.join(map(str, version))} on {system} {processor}"
    if name != "CPython" or not (3, 11) <= version[:2] <= (3, 13):
        return Check("python", "fail", found, "run Gnomon on CPython 3.11 to 3.13")
    if (system, processor) != ("Linux", "x86_64"):
        remedy = "strict isolation needs Linux on x86-64; elsewhere use --isolation process"
        return Check("python", "warn", found, remedy)
    return Check("python", "ok", found)


def packages(machine: Machine) -> Iterator[Check]:
    """Check what the base install and every extra need: what is there, missing, or too old."""
    own, stated = machine.requirements()
    yield Check("gnomon", "ok", own)
    needed: dict[str, dict[str, str]] = {}
    for line in stated:
        name, bounds, extra = _parsed(line)
        needed.setdefault(extra, {})[name] = bounds
    for extra, bounds_of in needed.items():
        wanted = {name: bounds for name, bounds in bounds_of.items() if name != "gnomon"}
        if wanted:
            yield _group(machine, extra, wanted)


def _parsed(requirement: str) -> tuple[str, str, str]:
    found = _REQUIREMENT.match(requirement)
    assert found is not None, requirement  # our own metadata
    return found[1], found[2], found[3] or ""


def _group(machine: Machine, extra: str, bounds_of: dict[str, str]) -> Check:
    """Return whether everything of one extra is there; the base install is the empty one."""
    versions = {name: machine.version(name) for name in sorted(bounds_of)}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if version is None]
    wrong = [n for n, version in versions.items() if version and not within(version, bounds_of[n])]
    title = f"extra {extra}" if extra else "base install"
    install = f"pip install 'gnomon[{extra}]'" if extra else "pip install --force-reinstall gnomon"
    if wrong:
        found = ", ".join(f"{n} {versions[n]} is not {bounds_of[n].strip()}" for n in wrong)
        return Check(title, "fail" if not extra else "warn", found, f"run: {install}")
    if missing:
        found = f"missing: {', '.join(missing)}" + (f"; there: {there}" if there else "")
        if not extra:
            return Check(title, "fail", found, f"run: {install}")
        return Check(title, "not installed", found, f"where it is needed, run: {install}")
    return Check(title, "ok", there)


def within(version: str, bounds: str) -> bool:
    """Return whether a version lies within bounds such as ``>=1.30,<2``; its numbers alone count."""
    found = _numbers(version)
    return all(_HOLDS[sign](found, _numbers(bound)) for sign, bound in _BOUND.findall(bounds))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[^0-9.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 2.0 is 2
    return tuple(numbers)


def isolation(machine: Machine) -> Check:
    """Check whether untrusted code can be run in strict isolation, by locking a process in.

    Layers that only root can have are no reason to warn: the others stop what they stop.
    """
    remedy = (
        "use --isolation process, which is weaker; or run where the kernel allows what is missing"
    )
    try:
        held = machine.isolation()
    except (IsolationError, OSError) as error:
        return Check("isolation", "warn", f"strict cannot be had: {error}", remedy)
    lacking = [layer for layer in MISSING if layer not in held]
    missing = "".join(f"; without {layer}: {MISSING[layer][0]}" for layer in lacking)
    found = f"strict: {', '.join(held)}{missing}"
    remedies = dict.fromkeys(f"for {layer}: {MISSING[layer][1]}" for layer in lacking)
    answer: Answer = "warn" if set(lacking) - set(ONLY_ROOT) else "ok"
    return Check("isolation", answer, found, "; ".join(remedies))


def clock(machine: Machine) -> Check:
    """Check the clocks: blocks of a canary are cut by the wall clock, budgets by the monotonic one."""
    seen = machine.clock()
    state = {True: "synchronised", False: "not synchronised", None: "state not told"}
    found = f"monotonic {seen.resolution_s:.0e} s; wall clock {state[seen.synchronised]}"
    if seen.backwards:
        return Check("clock", "fail", f"{found}; monotonic went back", "repair the host's clock")
    if seen.step_s > _SKEW_S:
        found = f"{found}; it stepped by {seen.step_s:.2g} s"
        return Check("clock", "warn", found, "let NTP slew the clock instead of stepping it")
    if seen.synchronised is False:
        remedy = "run chrony or systemd-timesyncd on the host: processes of a canary switch by it"
        return Check("clock", "warn", found, remedy)
    if seen.synchronised and seen.error_s > _SKEW_S:
        found = f"{found} within {seen.error_s:.2g} s"
        return Check(
            "clock", "warn", found, "use a nearer NTP server, or ship with a larger --skew"
        )
    return Check("clock", "ok", found)


def settings(machine: Machine) -> tuple[dict[str, object], list[Check]]:
    """Return what the environment sets, with the checks on its variables."""
    checks, values = [], {}
    try:
        values = config.from_environment(machine.environ)
        config.Settings(**values)  # type: ignore[arg-type]
    except ConfigurationError as error:
        checks.append(Check("variables", "fail", str(error), "correct or unset it"))
    known = [*config.VARIABLES, *(f"GNOMON_{name}" for name in OTHERS)]
    mine = {n: v for n, v in sorted(machine.environ.items()) if n.startswith("GNOMON_")}
    checks += [_unknown(name, known) for name in mine if name not in known]
    if values.get("disabled"):
        remedy = "unset GNOMON_DISABLED to record and to receive policies"
        checks.append(Check("disabled", "warn", "GNOMON_DISABLED is on: every hook is off", remedy))
    force = ", ".join(f"{name}={value}" for name, value in mine.items() if name in known)
    checks.append(Check("in force", "ok", force or "no GNOMON_* variable is set"))
    return values, checks


def _unknown(name: str, known: list[str]) -> Check:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    remedy = f"did you mean {near[0]}?" if near else "unset it"
    return Check("variables", "warn", f"{name} is no variable of Gnomon", remedy)


def keys(machine: Machine, values: dict[str, object]) -> Iterator[Check]:
    """Check the keys in the usual folder and those that a service pins."""
    from ..sdk import keys as files

    pinned = values.get("publisher_keys") or ()
    assert isinstance(pinned, tuple)
    private, public = (sorted(KEYS.glob(f"*{end}")) for end in (".pem", ".pub"))
    for path in private:
        yield from _readable(path, files.load_private)
    for path in (*public, *pinned):
        yield from _readable(path, files.load_public)
    found = f"{len(private)} private and {len(public)} public in {KEYS}, {len(pinned)} pinned"
    if values.get("control_plane") and not pinned:
        remedy = "set GNOMON_PUBLISHER_KEYS, or give publisher_keys to gnomon.configure"
        yield Check("keys", "warn", f"{found}; a control plane is set and no key", remedy)
    else:
        yield Check("keys", "ok", found)


def _readable(path: Path, load: Callable[[Path], object]) -> Iterator[Check]:
    try:
        load(path)
    except (GnomonError, OSError) as error:
        yield Check("keys", "fail", str(error), f"correct or remove {path}")


def state(machine: Machine, folder: Path) -> Check:
    """Check the folder for last-known-good policies: it can be written and has room."""
    free = machine.free_bytes(folder)
    found = f"{folder}, {free / (1 << 30):.1f} GiB free"
    if not machine.writable(folder):
        remedy = f"let this user write to {standing(folder)}, or set GNOMON_STATE_DIR"
        return Check("state", "fail", f"{folder} cannot be written", remedy)
    if free < _LITTLE_FREE:
        answer: Answer = "fail" if free < _LEAST_FREE else "warn"
        return Check("state", answer, found, "make room, or set GNOMON_STATE_DIR elsewhere")
    return Check("state", "ok", found)


def stopped(folder: Path) -> Iterator[Check]:
    """Say that policies are stopped on this host, where they are."""
    for kill in KillFile(folder).kills():
        found = f"{kill.hook or 'every hook'} {kill.words}"
        yield Check("kill", "warn", found, "lift it once its reason is gone: gnomon kill --lift")


def control(machine: Machine, address: str) -> Check:
    """Check whether the control plane answers, with TLS as the variables say."""
    if not address:
        return Check("control plane", "ok", "none is set (GNOMON_CONTROL_PLANE)")
    remedy = "start it with: gnomon serve; or correct the address or GNOMON_TLS_*"
    return _reached(
        "control plane",
        address,
        remedy,
        lambda: machine.reach(Peer.from_environment(address, machine.environ)),
    )


def recorder(machine: Machine, endpoint: str) -> Check:
    """Check whether the OTLP endpoint answers, with TLS as the variables say."""
    if not endpoint:
        return Check("OTLP endpoint", "ok", "none is set (OTEL_EXPORTER_OTLP_ENDPOINT)")
    remedy = "start gnomon record or a Collector there, or correct OTEL_EXPORTER_OTLP_*"
    reach = machine.reach_otlp
    return _reached("OTLP endpoint", endpoint, remedy, lambda: reach(endpoint, machine.environ))


def _reached(name: str, address: str, remedy: str, reach: Callable[[], None]) -> Check:
    try:
        reach()
    except (GnomonError, OSError, ValueError) as error:  # ValueError: gRPC, of a wrong certificate
        cause = str(error) if isinstance(error, UnavailableError) else f"{address}: {error}"
        return Check(name, "fail", cause, remedy)
    return Check(name, "ok", f"{address} answers")


def compiled(machine: Machine) -> Check:
    """Check whether compiled simulators can be kept on disk, so that only the first run compiles."""
    if machine.version("numba") is None:
        return Check("compiled code", "not installed", "numba is not installed (extra shadow)")
    given = machine.environ.get("NUMBA_CACHE_DIR", "")
    own = Path(__file__).resolve().parents[1] / "shadow" / "simulators" / "__pycache__"
    home = Path(machine.environ.get("HOME", "/")) / ".cache"
    places = (Path(given),) if given else (own, home)
    usable = next((place for place in places if machine.writable(place)), None)
    if usable is None:
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written; else every run compiles anew"
        return Check("compiled code", "warn", f"no cache in {_listed(places)}", remedy)
    return Check("compiled code", "ok", f"kept in {usable}")


def _listed(places: Iterable[Path]) -> str:
    return ", ".join(map(str, places))


def modules(machine: Machine) -> Check:
    """Check that the modules of ``GNOMON_MODULES``, which make further kinds known, can be imported."""
    from ..policies import registry

    names = registry.modules(machine.environ)
    if not names:
        return Check("modules", "ok", "none are set (GNOMON_MODULES)")
    try:
        registry.load_modules()
    except ConfigurationError as error:
        return Check("modules", "fail", str(error), "correct GNOMON_MODULES or PYTHONPATH")
    return Check("modules", "ok", f"{', '.join(names)}; kinds: {', '.join(registry.kinds())}")


def forks(machine: Machine) -> Check:
    """Check whether gRPC can be used in this process, and say what a service that forks must do."""
    if machine.forked():
        remedy = "fork before the first decision, or start workers with spawn"
        return Check("forks", "fail", "this process was forked after gRPC was used", remedy)
    found = "workers may be forked before the first decision; forked later they send nothing"
    return Check("forks", "ok", found)
