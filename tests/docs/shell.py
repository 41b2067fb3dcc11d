"""Running what a page tells its reader to type, in order, as one shell session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from .pages import Block

BIN = Path(sys.executable).parent
#: Waits until somebody listens; a reader's fingers are slower than any start.
_PREFACE = """trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
listening() {
  for _ in $(seq 3000); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  echo "nothing listens on $1" >&2; exit 9
}
"""


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with this interpreter's folder first on the path, and nothing of Gnomon's set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GNOMON_", "OTEL_"))}
    env = kept | {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "160"} | variables
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=1500, check=False
    )


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def session(shown: list[Block], replaced: dict[str, str], servers: dict[str, int]) -> str:
    """Return the commands of blocks as one script that ends at the first unexpected exit code.

    Args:
        shown: blocks, in order.
        replaced: text in commands, and what stands there instead.
        servers: what a command in the background has in it, and the port that it will listen on.
    """
    return _PREFACE + "\n".join(_checked(block, replaced, servers) for block in shown)


def _checked(block: Block, replaced: dict[str, str], servers: dict[str, int]) -> str:
    allowed = "|".join(str(code) for code in sorted(block.exits))
    lines = []
    for command in block.commands:
        started = [port for name, port in servers.items() if name in command]
        for old, new in replaced.items():
            command = command.replace(old, new)
        lines.append(command)
        if not command.endswith("&"):
            failed = f'echo "line {block.line}: exit code $code of the command above" >&2; exit 9'
            lines.append(f"code=$?; case $code in {allowed}) ;; *) {failed};; esac")
        lines += [f"listening {port}" for port in started if command.endswith("&")]
    return "\n".join(lines)
