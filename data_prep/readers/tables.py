"""A CSV that describes clips, as any spreadsheet writes it: name, label and further columns."""

import argparse
import codecs
import csv
import io
import pathlib
import re
from collections.abc import Mapping

from data_prep import raw_values
from data_prep.readers import exchange
from mstgcn_jax.errors import DataError

_WRITTEN = ("persons", "frames")  # columns of the clip table that the preparation fills
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})([.,]0*)?")
_MEANT = ("name", "label", "split", "subject", "camera", "setup", "replication")


def read_table(path: pathlib.Path) -> dict[str, list[str]]:
  """Column -> its texts, as any spreadsheet writes them.

  Commas, semicolons or tabs separate; the names of columns with a meaning may have capitals; spaces
  around a text, empty lines, and empty cells beyond the last column do not count.
  """
  text = _text(path)
  first = next((line for line in text.splitlines() if line.strip(" ,;\t")), "")
  delimiter = max(",;\t", key=first.count)
  if first[:4].lower() == "sep=" and len(first.strip()) == 5:  # a hint for Excel, in its own line
    delimiter = first[4]
    text = text[text.index(first) + len(first) :]
  try:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows, numbers = [], []
    for row in reader:
      if any(map(str.strip, row)):
        rows.append([cell.strip() for cell in row])
        numbers.append(reader.line_num)
  except csv.Error as error:
    raise DataError(f"{path} is not a CSV ({error})") from error
  header = [_column(cell) for cell in _without_empty_end(rows[0], 0)] if rows else []
  for column in ("name", "label"):
    if column not in header:
      raise DataError(
        f"{path} has no column {column!r}; its first line is {','.join(header)!r:.80}"
      )
  rows = [_without_empty_end(row, len(header)) for row in rows[1:]]
  for number, row in zip(numbers[1:], rows, strict=True):
    if len(row) != len(header):
      raise DataError(f"{path}: line {number} has {len(row)} fields, the first {len(header)}")
  if not rows:
    raise DataError(f"{path} lists no clip")
  columns = list(zip(header, map(list, zip(*rows, strict=True)), strict=True))
  columns = [(column, texts) for column, texts in columns if column or any(texts)]
  for i, (column, _) in enumerate(columns):
    if not column or not column.isprintable() or column in dict(columns[:i]):
      raise DataError(f"{path}: column {i + 1} is called {column!r}, which is empty or there twice")
    if column in _WRITTEN:
      raise DataError(f"{path}: column {column!r} is filled by the preparation; rename it")
  return dict(columns)


def _text(path: pathlib.Path) -> str:
  """A table's text: UTF-8, or UTF-16 as Excel's "Unicode text" is."""
  try:
    data = path.read_bytes()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}") from error
  except UnicodeDecodeError as error:
    raise DataError(f"{path} is not UTF-8 text ({error}); save it as CSV UTF-8") from error


def _column(name: str) -> str:
  return name.lower() if name.lower() in (*_MEANT, *_WRITTEN) else name


def _without_empty_end(row: list[str], least: int) -> list[str]:
  """The row without empty cells at its end, but not shorter than `least`."""
  end = max((i + 1 for i, cell in enumerate(row) if cell), default=0)
  return row[: max(end, least)]


def labels(texts: list[str], args: argparse.Namespace) -> tuple[list[int], tuple[str, ...]]:
  """Class numbers and names: labels are numbers from 0, or names (in alphabetical order)."""
  values = _whole_if_all_are([text or "-1" for text in texts])  # no label: a bad recording
  if isinstance(values[0], int):
    return values, exchange.class_names(args, values)
  if args.classes is not None:
    names = exchange.class_names(args, [0])
    unknown = sorted(set(texts) - {"", *names})
    if unknown:
      raise DataError(f"label {unknown[0]!r:.40} is not among the names of {args.classes}")
  else:
    names = tuple(sorted(set(texts) - {""}))
    if not all(map(raw_values.is_name, names)):
      raise DataError("a label is not printable text")
  numbers = {name: i for i, name in enumerate(names)} | {"": -1}
  return [numbers[text] for text in texts], names


def facts(
  table: pathlib.Path, columns: Mapping[str, list[str]], names: list[str]
) -> tuple[list[dict[str, int | str]], list[str]]:
  """Facts of every clip, from the columns beside its name and label, and lines to print."""
  found = {column: _whole_if_all_are(texts) for column, texts in columns.items()}
  warnings: list[str] = []
  if "split" in columns:
    splits, warnings = _splits(table, names, columns["split"])
    found |= splits
  return [{column: of[i] for column, of in found.items()} for i in range(len(names))], warnings


def _splits(
  table: pathlib.Path, names: list[str], texts: list[str]
) -> tuple[dict[str, list[str]], list[str]]:
  """The columns of the split (exchange.split_columns), from train, val, test or nothing."""
  members: dict[str, list[str]] = {}
  for name, text in zip(names, texts, strict=True):
    if text.lower() not in ("train", "val", "test", ""):
      raise DataError(f"{table}: split {text!r:.40} is none of train, val, test")
    if text:
      members.setdefault(text.lower(), []).append(name)
  columns, warnings = exchange.split_columns(members, names)
  return {column: [of.get(name, "") for name in names] for column, of in columns.items()}, warnings


def _whole_if_all_are(texts: list[str]) -> list[int] | list[str]:
  """Numbers where all texts are whole ones, as in '3' or '3.0'; where some are empty, as '3'."""
  matches = [_WHOLE.fullmatch(text) for text in texts]
  if all(matches):
    return [int(match[1]) for match in matches if match]
  if all(match or not text for match, text in zip(matches, texts, strict=True)):
    return [match[1] if match else "" for match in matches]
  return texts
