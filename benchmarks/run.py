"""``make bench``: run benchmarks, write ``build/bench/NAME.json`` and ``docs/benchmarks.md``.

A benchmark is a module here with ``run() -> list[Row]``; its docstring stands above its table. Each has a
process of its own, so that none pays for what another loaded or left behind. Those in ``ONLY_WHEN_NAMED``
take minutes. Modules that begin with an underscore are parts of benchmarks.
"""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import results

NOT_BENCHMARKS = {"run", "results"}
ONLY_WHEN_NAMED = {"cases", "demo", "quality", "truth"}


def names() -> list[str]:
    """Return the benchmarks that exist, in alphabetical order."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in NOT_BENCHMARKS and name[0] != "_")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--here", default="", help="one name: in this process, without the page")
    options = parser.parse_args()
    chosen = [name for name in (options.here or options.only).split(",") if name]
    if unknown := set(chosen) - set(names()):
        parser.error(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(names())}"
        )
    if options.here:
        measure(options.here)
        return
    chosen = chosen or [name for name in names() if name not in ONLY_WHEN_NAMED]
    failed = [name for name in chosen if not alone(name)]
    refresh()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; their tables are as they were")


def alone(name: str) -> bool:
    """Run one benchmark in a process of its own; return whether it ended well."""
    print(f"== {name}", flush=True)
    done = subprocess.run([sys.executable, __file__, "--here", name], check=False)
    return done.returncode == 0


def measure(name: str) -> None:
    """Run one benchmark and write its figures."""
    module = import_module(name)
    path = results.write(name, module.run(), inspect.getdoc(module) or "")
    print(f"   {path}", flush=True)


def refresh() -> None:
    """Write the page anew from all figures that there are."""
    before = results.DOCS.read_text() if results.DOCS.exists() else ""
    results.DOCS.write_text(results.page(results.OUT.glob("*.json"), before))


if __name__ == "__main__":
    main()
