"""``make bench``: run benchmarks, write ``build/bench/NAME.json`` and ``docs/benchmarks.md``.

A benchmark is a module here with ``run() -> list[Row]``. Those in ``ONLY_WHEN_NAMED`` take minutes.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import results

NOT_BENCHMARKS = {"run", "results"}
ONLY_WHEN_NAMED = {"demo"}


def names() -> list[str]:
    """Return the benchmarks that exist, in alphabetical order."""
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in NOT_BENCHMARKS)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas")
    chosen = [name for name in parser.parse_args().only.split(",") if name]
    if unknown := set(chosen) - set(names()):
        parser.error(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(names())}"
        )
    for name in chosen or [name for name in names() if name not in ONLY_WHEN_NAMED]:
        print(f"== {name}", flush=True)
        path = results.write(name, import_module(name).run())
        print(f"   {path}", flush=True)
    results.DOCS.write_text(results.table(results.OUT.glob("*.json")))


if __name__ == "__main__":
    main()
