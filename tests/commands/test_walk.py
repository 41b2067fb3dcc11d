"""The whole loop through the commands themselves."""

from __future__ import annotations


def test_x(store, folder):
    import time

    t = time.time()
    import shutil

    shutil.rmtree("/tmp/clitry", ignore_errors=True)
    shutil.copytree(store, "/tmp/clitry/store")
    print(time.time() - t)
