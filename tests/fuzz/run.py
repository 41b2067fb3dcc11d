"""``make fuzz``: run every harness under atheris for a while.

Each harness has a process of its own. Its corpus is kept under ``build/fuzz/NAME/corpus``; an input that breaks a
property is written to ``tests/fuzz/regressions/NAME/``, where the test suite replays it for ever. The figures are in
``build/fuzz/summary.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from fuzz import corpus

BUILD = ROOT / "build" / "fuzz"
#: Seconds of one input, MiB of one process: beyond either the property is broken.
SLOW_S, MOST_MB = 20, 3000
_LONGEST = 1 << 15
_STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> None:
    """Run what was asked for; the exit status says whether a property was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seconds", type=int, default=60, help="of each harness")
    parser.add_argument("--here", default="", help="one name: in this process, until it is killed")
    options, rest = parser.parse_known_args()
    if options.here:
        fuzz(options.here, rest)
        return
    chosen = [name for name in options.only.split(",") if name] or corpus.names()
    if unknown := set(chosen) - set(corpus.names()):
        parser.error(f"no such harness: {', '.join(sorted(unknown))}; there are: {corpus.names()}")
    figures = {name: alone(name, options.seconds) for name in chosen}
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "summary.json").write_text(json.dumps(figures, indent=1))
    if broken := [name for name, found in figures.items() if found["status"]]:
        raise SystemExit(
            f"broken: {', '.join(broken)}; see tests/fuzz/regressions, and build/fuzz/NAME/log.txt"
        )


def alone(name: str, seconds: int) -> dict[str, Any]:
    """Run one harness in a process of its own; return its figures."""
    folder = BUILD / name
    shutil.rmtree(folder / "found", ignore_errors=True)
    for each in ("corpus", "seeds", "found"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    for _, data in corpus.seeds(name):
        (folder / "seeds" / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    command = [
        *(sys.executable, __file__, "--here", name, str(folder / "corpus"), str(folder / "seeds")),
        *(f"-max_total_time={seconds}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MOST_MB}"),
        *(f"-max_len={_LONGEST}", f"-artifact_prefix={folder / 'found'}/", "-print_final_stats=1"),
    ]
    with (folder / "log.txt").open("w", errors="replace") as log:
        status = subprocess.run(
            command, stdout=log, stderr=log, env=os.environ | _memory(), check=False
        ).returncode
    figures = _figures((folder / "log.txt").read_text(errors="replace"))
    figures |= {"status": status, "broke": kept(name, folder / "found")}
    print(f"{name:16} {figures}", flush=True)
    return figures


def _memory() -> dict[str, str]:
    """Return where files go that nobody needs for longer than one input: memory, where there is such a place."""
    return {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}


def _figures(log: str) -> dict[str, Any]:
    last = _STATUS.findall(log)
    runs, edges, features, inputs = map(int, last[-1]) if last else (0, 0, 0, 0)
    return {"runs": runs, "edges": edges, "features": features, "inputs": inputs}


def kept(name: str, found: Path) -> list[str]:
    """Keep what broke a property, under the digest of its content."""
    names = []
    for path in sorted(found.iterdir()):
        data = path.read_bytes()
        target = corpus.REGRESSIONS / name / f"{hashlib.sha256(data).hexdigest()[:12]}.bin"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        names.append(target.name)
    return names


def fuzz(name: str, arguments: list[str]) -> None:
    """Hand this process to libFuzzer, with Gnomon's own code instrumented."""
    import atheris

    with atheris.instrument_imports(include=["gnomon"], enable_loader_override=False):
        module = corpus.harness(name)
    logging.getLogger("gnomon").setLevel(logging.CRITICAL)  # what is refused is also logged
    resource.setrlimit(resource.RLIMIT_AS, (2 * MOST_MB << 20, 2 * MOST_MB << 20))
    own = getattr(module, "mutate", None)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        made: bytes = own(data, random)
        return made[:most]

    more = {"custom_mutator": mutated} if own else {}
    atheris.Setup([sys.argv[0], *arguments], module.TestOneInput, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
