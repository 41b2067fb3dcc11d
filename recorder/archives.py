"""Archives that others made: what reading a ``.npz`` file raises when it is cut, changed or none at all."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib

#: Besides what they document, zipfile and numpy let through what their parts raise: for an unknown version
#: or method of compression (NotImplementedError), an encrypted member (RuntimeError), a header that is no
#: literal (TokenError, RecursionError) and a shape that no memory holds (MemoryError, OverflowError).
UNREADABLE = (
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
