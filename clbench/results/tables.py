"""Records as CSV tables and as pandas frames."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clbench.errors import DataError
from clbench.places import READ
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord

if TYPE_CHECKING:
    import pandas as pd

Record = TaskRecord | IndicatorRecord | ProfileRecord
AnyRecord = TypeVar("AnyRecord", TaskRecord, IndicatorRecord, ProfileRecord)

CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    str(kind): convert
    for kind, convert in ((str, str), (int, int), (float, lambda text: float(text or "nan")))
}
DECIMAL_COMMA: Mapping[str, Callable[[str], Any]] = {
    **CONVERTERS,
    str(float): lambda text: float(text.replace(",", ".") or "nan"),
}


def columns(kind: type[Record]) -> list[str]:
    return [item.name for item in fields(kind)]


def frame(records: Iterable[Record], kind: type[Record] = TaskRecord) -> "pd.DataFrame":
    """Return records of one kind as a pandas frame with the columns of their table."""
    import pandas as pd

    rows = list(map(attrgetter(*columns(kind)), records))
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns(kind))
    return table


def to_csv(records: Iterable[Record], kind: type[Record]) -> str:
    """Return records of one kind as CSV: floats keep all their digits, indicators nine (a float32's); NaN is empty."""
    digits = "{:.9g}" if kind is IndicatorRecord else "{!r}"

    def cell(value: object) -> object:
        if isinstance(value, float):
            return "" if math.isnan(value) else digits.format(float(value))
        return value

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(kind))
    writer.writerows([cell(value) for value in asdict(record).values()] for record in records)
    return text.getvalue()


def read_csv(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """Return the records in a table; columns that this version does not know are ignored.

    A spreadsheet may have saved it: with a byte-order mark, semicolons and decimal commas.

    Raises:
        DataError: it cannot be read, or is damaged; the text names the line.
    """
    try:
        text = path.read_bytes().decode(READ)
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is damaged: it is not UTF-8 text") from error
    return list(_records(path, text, kind))


def _records(path: Path, text: str, kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    first = text.partition("\n")[0]
    delimiter = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
    converters = CONVERTERS if delimiter == "," else DECIMAL_COMMA
    wanted = {item.name: converters[str(item.type)] for item in fields(kind)}
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header: list[str] = next(rows, [])
        if missing := [name for name in wanted if name not in header]:
            raise DataError(f"'{path}' is damaged: line 1 has no column '{missing[0]}'")
        cells = [(header.index(name), name, convert) for name, convert in wanted.items()]
        for row in filter(None, rows):
            if len(row) != len(header):
                raise DataError(
                    f"'{path}' is damaged: line {rows.line_num} has {len(row)} cells instead of {len(header)}"
                )
            values: dict[str, Any] = {}
            for index, name, convert in cells:
                try:
                    values[name] = convert(row[index])
                except ValueError:
                    raise DataError(
                        f"'{path}' is damaged: line {rows.line_num} has {name} '{row[index]}', not a number"
                    ) from None
            yield kind(**values)
    except csv.Error as error:
        raise DataError(f"'{path}' is damaged: line {rows.line_num}: {error}") from error
