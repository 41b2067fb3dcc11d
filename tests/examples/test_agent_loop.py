"""The shell loop for a coding agent, over a search that waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.search.log import read_run
from gnomon.shadow.search.space import Space, seeds

LOOP = Path(__file__).resolve().parents[2] / "examples" / "agent_loop.sh"
SEARCH = """
import sys
from concurrent.futures import Future
from pathlib import Path
from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.authors.inbox import FolderInbox
from gnomon.shadow.search.records import Budget, digest
from gnomon.shadow.search.authors.writers import Authors

class Engine:
    layers = ()
    def submit(self, source, split, trial=None):
        done = Future()
        done.set_result(Evaluation(Status.OK, int(digest(source)[:8], 16) / 2**32, (0.5,)))
        if split == "train":
            print("evaluated", flush=True)
        return done

folder, budget = Path(sys.argv[1]), int(sys.argv[2])
options = Options(Budget(budget), strategy="published", wait=True)
evolve(load_balancer, Engine(), options, folder, authors=Authors(inbox=FolderInbox(folder)))
"""
#: Answers with another program every time; the second answer is prose.
AGENT = """
import re, sys
from pathlib import Path
prompt = sys.stdin.read()
assert "# How to answer" in prompt
count = Path("count")
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
program = f"def score(inflight, weight):\\n    return (inflight + {number}) / weight\\n"
print("I would rather not." if number == 2 else f"So:\\n```python\\n{program}```")
"""


def test_an_agent_writes_until_the_run_ends(tmp_path: Path) -> None:
    folder, known = tmp_path / "run", len(seeds(Space(load_balancer), "library"))
    (tmp_path / "agent.py").write_text(AGENT)
    command = [sys.executable, "-c", SEARCH, str(folder), str(known + 2)]
    search = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert search.stdout is not None
    try:
        for _ in range(known):
            assert search.stdout.readline() == "evaluated\n"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", str(LOOP), str(folder)],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "AGENT": f"{sys.executable} agent.py"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert search.wait() == 0
    finally:
        search.kill()
        search.communicate()
    assert "no program in the answer" in ended.stderr
    assert "has ended" in ended.stderr.strip().split("\n")[-1]
    told = [r for r in read_run(folder / "log.jsonl").records if r.operator.startswith("told:")]
    assert {record.author for record in told} == {"agent"}
    # the first is a published policy, the second was prose
    assert [record.outcome.value for record in told] == ["duplicate", "ok", "ok"]
    assert "inflight + 4" in told[-1].source


def test_the_loop_ends_where_nobody_takes_up_what_is_told(tmp_path: Path) -> None:
    folder, known = tmp_path / "run", len(seeds(Space(load_balancer), "library"))
    (tmp_path / "agent.py").write_text(AGENT)
    command = [sys.executable, "-c", SEARCH, str(folder), str(known + 2)]
    search = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert search.stdout is not None
    for _ in range(known):
        assert search.stdout.readline() == "evaluated\n"
    search.kill()
    search.communicate()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", str(LOOP), str(folder)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "AGENT": f"{sys.executable} agent.py", "TIMEOUT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert (tmp_path / "count").read_text() == "1"
