"""What every command shares: errors as one line, output as a table or as JSON, exit codes."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NoReturn

import typer

from ..sdk.errors import GnomonError, UnavailableError
from ._extras import missing


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NEGATIVE = 1  # the answer is no: refused, not verified, held, aborted
    BAD_INPUT = 2
    INCONCLUSIVE = 3
    UNAVAILABLE = 4


def fail(message: str, code: Exit = Exit.BAD_INPUT) -> NoReturn:
    """Print one line on standard error and leave with ``code``."""
    print(f"gnomon: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(int(code))


def emit(data: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print ``data`` as JSON on standard output, or call ``show`` to print it for people."""
    if as_json:
        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        show()


def handled(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that what is expected to go wrong ends in one line and an exit code.

    That is Gnomon's own errors, files that the machine refuses, and libraries that are missing; all
    else is a fault of ours and shows where it happened.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except UnavailableError as error:
            fail(str(error), Exit.UNAVAILABLE)
        except GnomonError as error:
            fail(str(error))
        except OSError as error:
            if error.filename is None or error.errno == errno.EPIPE:
                raise
            fail(f"{error.filename}: {error.strerror}; name another path, or set its permissions")
        except ImportError as error:
            if not missing(error):
                raise
            fail(missing(error))

    return wrapper
