"""``python -m gnomon`` and the ``gnomon`` command."""

from __future__ import annotations

import sys

from .commands._extras import missing


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    try:
        from .cli import app
    except ImportError as error:
        remedy = missing(error)
        if not remedy:
            raise
        print(f"gnomon: {remedy}", file=sys.stderr)
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
