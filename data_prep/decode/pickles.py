"""Reading pickles from strangers: plain containers, numbers, text and NumPy arrays, nothing else.

A pickle is a program; what it may call is listed in `_ADMITTED` and nothing of that list does more
than build an array out of bytes. NumPy's own reconstruction is not used: it trusts its input.
"""

import math
import mmap
import pathlib
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from data_prep import raw_files
from mstgcn_jax.errors import DataError

_MAX_DEPTH = 8  # axes of an array given as lists
_MAX_NUMBERS = 1 << 25  # of such an array: a list may be in the pickle once and in others often
_OBJECTS = "O8"
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[US]\d{1,6})")


def load(path: pathlib.Path) -> Any:
  """The pickle's content; arrays in it are for `as_array`.

  Raises:
    DataError: the file cannot be read, is no pickle, or asks for more than data (which is named).
  """
  try:
    with path.open("rb") as file:
      if not file.read(1):
        raise DataError(f"{path} is empty; expected a pickle")
      # A map, not the file: an array or text is not allocated at the length that a damaged pickle
      # claims before that is seen to lie beyond its end.
      with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _Unpickler(_Content(content), encoding="latin1").load()
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
  except _RefusedError as error:
    raise DataError(
      f"{path}: the pickle asks for {error}, which data does not need; it was not loaded. If you "
      "trust the file, load it yourself and pickle its lists, dicts and arrays of numbers anew"
    ) from error
  except DataError:
    raise
  except Exception as error:  # pickle raises almost any kind on damaged input
    hint = raw_files.pointer_hint(path) or f" ({error})"
    raise DataError(f"{path} is not a pickle, or a damaged one{hint}") from error


def as_array(value: Any) -> np.ndarray:
  """A NumPy array from what a pickle held as one, or from numbers in lists; else a DataError."""
  if isinstance(value, _Array):
    value = value.to_numpy()
    if value.dtype != object:
      return value
    value = value.tolist()  # of numbers or texts, it is one of these
  lengths = _lengths(value)  # NumPy would go through all of it, which may have no end
  if len(lengths) > _MAX_DEPTH:
    raise DataError(f"expected an array, found lists in lists, more than {_MAX_DEPTH} deep")
  if math.prod(lengths) > _MAX_NUMBERS:
    raise DataError(f"expected an array, found lists of {math.prod(lengths):,} numbers")
  try:
    array = np.asarray(value)
  except Exception as error:  # ragged lists
    raise DataError(f"expected an array, found {type(value).__name__} ({error})") from error
  if array.dtype.kind not in "biufUS":
    raise DataError(f"expected an array of numbers, found {type(value).__name__}")
  return array


def _lengths(value: Any) -> list[int]:
  """Of lists that lie in one another, looking at their first items, down to too deep ones."""
  lengths: list[int] = []
  while isinstance(value, (list, tuple)) and value and len(lengths) <= _MAX_DEPTH:
    lengths.append(len(value))
    value = value[0]
  return lengths


def as_list(value: Any) -> list[Any]:
  """The items of what a pickle held as a list, a tuple, a set or an array; else a DataError."""
  if isinstance(value, (list, tuple)):
    return list(value)
  if isinstance(value, (set, frozenset)):
    return sorted(value, key=repr)
  if isinstance(value, _Array):
    return value.to_numpy().ravel().tolist()
  raise DataError(f"expected a list, found {type(value).__name__}")


class _Content:
  """What a pickle is read from; a ValueError where it numbers an object beyond its own length.

  Python makes room for as many objects as the number says: gigabytes, where one bit is damaged.
  """

  def __init__(self, content: mmap.mmap):
    self._content = content
    self._before = b""  # what was read last: an operation, maybe, of one byte

  def read(self, size: int) -> bytes:
    data = self._content.read(size)
    if size == 4 and self._before == pickle.LONG_BINPUT:
      self._check(int.from_bytes(data, "little"))
    elif size == 8 and self._before == pickle.FRAME:
      data = bytes(8)  # a frame is read at once, unseen; of none everything is read one by one
    self._before = data
    return data

  def readline(self) -> bytes:
    line = self._content.readline()
    if self._before == pickle.PUT:
      self._check(int(line))
    return line

  def _check(self, number: int) -> None:
    if number > len(self._content):
      raise ValueError(f"it numbers an object {number:,}")


class _RefusedError(Exception):
  """What the pickle asked for."""


class _Dtype:
  """Stands for a NumPy type, from its short name and its pickled byte order."""

  __slots__ = ("dtype",)

  def __init__(self, name: Any, *_: Any):
    if not isinstance(name, str) or not (name == _OBJECTS or _DTYPE.fullmatch(name)):
      raise _RefusedError(f"arrays of the type {name!r:.40}")
    self.dtype = np.dtype(name)

  def __setstate__(self, state: Any):
    _, order, base, names, fields, *_ = state
    if base is not None or names is not None or fields is not None:
      raise _RefusedError("arrays of records")
    if order in ("<", ">"):
      self.dtype = self.dtype.newbyteorder(order)


class _Array:
  """Stands for an array until the reader takes it: its pickled state."""

  __slots__ = ("_state",)

  def __init__(self):
    self._state = None

  def __setstate__(self, state: Any):
    self._state = state

  def __repr__(self) -> str:
    return "an array"

  def to_numpy(self) -> np.ndarray:
    try:
      _, shape, dtype, fortran, data = self._state
      return _from_bytes(data, dtype, shape, "F" if fortran else "C")
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
      raise DataError(f"a damaged array in the pickle ({error})") from error


def _from_bytes(data: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
  if not isinstance(dtype, _Dtype):
    raise ValueError("no type")
  if isinstance(data, str):  # Python 2's bytes
    data = data.encode("latin1")
  shape = (shape,) if isinstance(shape, int) else tuple(shape)
  if any(not isinstance(size, int) or size < 0 for size in shape):
    raise ValueError(f"shape {shape}")
  if dtype.dtype == object:
    return _of_objects(data, shape)
  if math.prod(shape) * dtype.dtype.itemsize != len(data):
    raise ValueError(f"{len(data)} bytes for the shape {shape} of {dtype.dtype}")
  if not math.prod(shape):
    return np.zeros(shape, dtype.dtype)
  return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _of_objects(items: Any, shape: tuple[int, ...]) -> np.ndarray:
  """An array of Python objects, of which the pickle holds a list."""
  array = np.empty(len(items), object)
  for i, item in enumerate(items):  # in one go, lists among them would become axes
    array[i] = item
  return array.reshape(shape)


def _reconstruct(kind: Any, *_: Any) -> _Array:
  if kind is not _NDARRAY:
    raise _RefusedError("a kind of array that is not numpy.ndarray")
  return _Array()


def _scalar(dtype: Any, data: Any = b"") -> Any:
  return _from_bytes(data, dtype, ()).item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
  """How Python 3 writes bytes into old protocols."""
  if not isinstance(text, str) or encoding != "latin1":
    raise _RefusedError(f"_codecs.encode with {encoding!r:.40}")
  return text.encode("latin1")


def _not_called(*_: Any):
  raise _RefusedError("numpy.ndarray as a function")


def _new_list(items: Any = (), *_: Any) -> list[Any]:
  return list(items)


def _default(*_: Any):
  """What a defaultdict is made with, and nothing else."""
  raise _RefusedError("a type as a function")


class _Admitted:
  """A function that a pickle may call and cannot change."""

  __slots__ = ("_function",)

  def __init__(self, function: Callable[..., Any]):
    self._function = function

  def __call__(self, *args: Any) -> Any:
    return self._function(*args)

  def __setstate__(self, state: Any):
    raise _RefusedError("a change of what reads it")


_NDARRAY = _Admitted(_not_called)
_ADMITTED = {
  ("numpy", "ndarray"): _NDARRAY,
  ("numpy", "dtype"): _Admitted(_Dtype),
  ("_codecs", "encode"): _Admitted(_encode),
  ("__builtin__", "bytes"): _Admitted(lambda: b""),  # no bytes at all, in old protocols
  # Containers of Python's; what a defaultdict would put in for a missing key is not asked for.
  ("collections", "OrderedDict"): _Admitted(dict),
  ("collections", "Counter"): _Admitted(dict),
  ("collections", "defaultdict"): _Admitted(lambda *_: {}),
  ("collections", "deque"): _Admitted(_new_list),
  **{
    (module, name): _Admitted(function)
    for module in ("__builtin__", "builtins")  # of Python 2 and 3
    for name, function in (
      *(("list", _new_list), ("tuple", _new_list), ("dict", dict)),
      *(("set", set), ("frozenset", frozenset)),
      *((name, _default) for name in ("int", "float", "str", "bool")),
    )
  },
  **{
    (f"numpy.{core}.{module}", name): _Admitted(function)
    for core in ("core", "_core")  # before and since NumPy 2
    for module, name, function in (
      ("multiarray", "_reconstruct", _reconstruct),
      ("multiarray", "scalar", _scalar),
      ("numeric", "_frombuffer", _from_bytes),
    )
  },
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    try:
      return _ADMITTED[module, name]
    except KeyError:
      raise _RefusedError(f"{module}.{name}") from None

  def persistent_load(self, pid: Any):
    raise _RefusedError("an object outside the file")
