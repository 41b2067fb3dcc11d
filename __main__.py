"""``python -m gnomon`` and the ``gnomon`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say in one line what is missing for it."""
    try:
        from .cli import app
    except ImportError as error:
        print(
            f"gnomon: the command line needs {error.name}; install it with: "
            "pip install 'gnomon[shadow,server]'",
            file=sys.stderr,
        )
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
