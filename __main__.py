"""``python -m gnomon`` and the ``gnomon`` command."""

from __future__ import annotations

import json
import os
import sys

from .commands._extras import missing


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    if "_GNOMON_COMPLETE" in os.environ:  # a shell takes every line for an answer: break none
        os.environ.setdefault("TERMINAL_WIDTH", "1000")
    try:
        from .cli import app
    except ImportError as error:
        remedy = missing(error)
        if not remedy:
            raise
        if sys.argv[1:2] == ["doctor"]:
            sys.exit(_doctor("--json" in sys.argv[2:]))
        print(f"gnomon: {remedy}", file=sys.stderr)
        sys.exit(2)
    app()


def _doctor(as_json: bool) -> int:
    """Look at the machine without a command line: what is missing is what is asked."""
    from .api import doctor

    found = doctor()
    print(json.dumps(found.as_json(), indent=2, sort_keys=True) if as_json else found)
    return 0 if found.ok else 1


if __name__ == "__main__":
    main()
