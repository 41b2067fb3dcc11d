"""Public formats of cache traces, each as a generator of batches of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ...sdk.errors import TraceError
from ._streams import BROKEN, blocks, broken, opened

#: Accesses of a batch, about.
BATCH = 1 << 18
#: A line of an ARC trace that stands for more blocks is taken for garbage.
MOST_BLOCKS = 1 << 20
_WHOLE = np.uint64(1) << np.uint64(53)
_LATEST_S = 9.2e9  # what Unix nanoseconds can say
_ORACLE = np.dtype([("time", "<u4"), ("key", "<u8"), ("size", "<u4"), ("next", "<i8")])


class Batch(NamedTuple):
    """Accesses in the order of the file.

    Attributes:
        key: of 53 bits, f8[n].
        time: seconds, f8[n]; None where the format has none.
        size: f8[n]; NaN where it is missing; None where the format has none.
    """

    key: npt.NDArray[np.float64]
    time: npt.NDArray[np.float64] | None
    size: npt.NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a CSV file.

    Attributes:
        key: numbers or texts.
        time: seconds; None for a file without times.
        size: None for a file without sizes.
    """

    key: str = "key"
    time: str | None = None
    size: str | None = None


def oracle_general(path: Path, _columns: Columns) -> Generator[Batch, None, None]:
    """Yield the accesses of an oracleGeneral file; raises TraceError when it is none."""
    with opened(path) as stream:
        for block in blocks(stream, path, _ORACLE.itemsize, BATCH):
            rows = np.frombuffer(block, _ORACLE)
            if (rows["next"] < -2).any():  # -1 says never again, -2 unknown
                raise TraceError(
                    f"{path} is no oracleGeneral: a next access at {int(rows['next'].min())}; "
                    "name its format"
                )
            yield Batch(keys(rows["key"]), rows["time"].astype("f8"), rows["size"].astype("f8"))


def ids(path: Path, _columns: Columns) -> Generator[Batch, None, None]:
    """Yield the accesses of a file of big-endian 32-bit ids; raises TraceError when it is cut."""
    with opened(path) as stream:
        for block in blocks(stream, path, 4, BATCH):
            yield Batch(np.frombuffer(block, ">u4").astype("f8"), None, None)


def arc(path: Path, _columns: Columns) -> Generator[Batch, None, None]:
    """Yield the blocks that the lines of an ARC trace stand for; raises TraceError for other lines."""
    names = ("start", "blocks", "zero", "sequence")
    reading = csv.ReadOptions(column_names=names, block_size=1 << 21)
    types = dict.fromkeys(names, pa.int64())
    parsing = csv.ParseOptions(delimiter=" ", quote_char=False)
    for table in _tables(path, reading, parsing, csv.ConvertOptions(column_types=types)):
        start, count = table["start"].to_numpy(), table["blocks"].to_numpy()
        if table["start"].null_count or table["blocks"].null_count or (start < 0).any():
            raise TraceError(f"{path} has a line without a block; name its format")
        if ((count < 0) | (count > MOST_BLOCKS)).any():
            raise TraceError(f"{path} has a line of {_worst(count)} blocks; name its format")
        for few in _parted(count):
            yield Batch(keys(_expanded(start[few], count[few]).astype("u8")), None, None)


def _worst(count: npt.NDArray[np.int64]) -> int:
    return int(count.max() if count.max() > MOST_BLOCKS else count.min())


def _parted(count: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Yield lines that stand for one batch of blocks, about."""
    end = np.cumsum(count)
    edges = np.flatnonzero(np.diff(end // BATCH)) + 1
    low = 0
    for high in (*edges.tolist(), len(count)):
        yield slice(low, high)
        low = high


def _expanded(start: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    before = np.cumsum(count) - count
    each: npt.NDArray[np.int64] = np.repeat(start - before, count) + np.arange(count.sum())
    return each


def csv_file(path: Path, columns: Columns) -> Generator[Batch, None, None]:
    """Yield the accesses of a CSV file with a header; raises TraceError when it cannot be read so."""
    named = [name for name in (columns.key, columns.time, columns.size) if name]
    numbers = {name: pa.float64() for name in (columns.time, columns.size) if name}
    converting = csv.ConvertOptions(
        include_columns=named, column_types=numbers | {columns.key: pa.string()}
    )
    reading = csv.ReadOptions(block_size=1 << 23)
    for table in _tables(path, reading, csv.ParseOptions(), converting):
        yield Batch(
            _text_keys(table[columns.key], path),
            _seconds(table[columns.time], path) if columns.time else None,
            table[columns.size].to_numpy() if columns.size else None,
        )


def _seconds(column: Any, path: Path) -> npt.NDArray[np.float64]:
    time: npt.NDArray[np.float64] = column.to_numpy()
    if not (np.abs(time) < _LATEST_S).all():
        raise TraceError(f"{path} has a time that is missing or no Unix second; convert its times")
    return time


def _tables(path: Path, reading: Any, parsing: Any, converting: Any) -> Iterator[Any]:
    """Yield a text file's tables; pyarrow's errors become ours, those of the consumer do not."""
    with opened(path) as stream:
        try:
            reader = csv.open_csv(stream, reading, parsing, converting)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise
        except KeyError as error:
            raise broken(path, error) from error
        while (table := _next(reader, path)) is not None:
            yield table


def _next(reader: Any, path: Path) -> Any:
    try:
        return pa.table(reader.read_next_batch())
    except StopIteration:
        return None
    except BROKEN as error:
        raise broken(path, error) from error


def keys(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return keys of 53 bits: a number that fits is its own key, all others are hashed."""
    wide = numbers.astype(np.uint64)
    large = wide >= _WHOLE
    if large.any():
        wide[large] = _mixed(wide[large]) >> np.uint64(11)
    return wide.astype(np.float64)


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def _text_keys(column: Any, path: Path) -> npt.NDArray[np.float64]:
    """Return keys of texts; one that is written as a whole number has the key of that number."""
    coded = pc.dictionary_encode(column.combine_chunks())
    if coded.indices.null_count:
        raise TraceError(f"{path} has a line without a key; fetch it again, or name another column")
    distinct = np.array([_text_key(text) for text in coded.dictionary.to_pylist()], np.float64)
    found: npt.NDArray[np.float64] = distinct[coded.indices.to_numpy()]
    return found


def _text_key(text: str) -> float:
    if text.isascii() and text.isdigit() and text == str(int(text[:17])):
        number = int(text)
        if number < 1 << 53:
            return float(number)
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> 11)


Reader = Callable[[Path, Columns], Generator[Batch, None, None]]
#: Readers by the name of their format.
FORMATS: Mapping[str, Reader] = MappingProxyType(
    {"oracleGeneral": oracle_general, "arc": arc, "ids": ids, "csv": csv_file}
)
