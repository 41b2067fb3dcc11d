"""What kind of failure this was: of the place, which passes, or of what was to be stored."""

from __future__ import annotations

import errno

from ..sdk.errors import TraceError

#: Errors of the place and not of what is written there: they pass, however long that takes.
_PLACE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.EAGAIN, errno.EINTR),
        *(errno.ESTALE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH),
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ENODEV, errno.ENXIO),
    }
)


def of_the_place(error: BaseException) -> bool:
    """Return whether the error lies with disk, store or machine, not with what was to be written.

    Object stores state no number; their errors are taken as of the place.
    """
    cause = error.__cause__ if isinstance(error, TraceError) else error
    if isinstance(cause, OSError):
        return cause.errno is None or cause.errno in _PLACE
    return False  # for want of memory, too, another try helps only so often


def words(error: BaseException) -> str:
    """Return one line that says what happened."""
    if isinstance(error, TraceError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
