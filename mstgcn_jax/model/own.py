"""Code of one's own that a config names: imported and called, and what its files held then.

A process goes on with what it imported, whatever becomes of the file, such as beside a notebook.
"""

import importlib
import pathlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from mstgcn_jax.errors import ConfigError, first_line, line_in
from mstgcn_jax.model.config import BlockConfig, ModelConfig

# Name -> the module's spec, which `importlib.reload` replaces, and its file's content.
_imported: dict[str, tuple[object, bytes]] = {}


def module_of(name: str) -> str:
  """Of 'package.module:function'."""
  return name.partition(":")[0]


def load(name: str) -> types.ModuleType:
  """Imports a module, whose file's content `as_imported` then gives."""
  # Where a network is traced, arrays that the module makes for itself would be of that trace alone.
  with jax.ensure_compile_time_eval():
    module = importlib.import_module(name)
  if name not in _imported or _imported[name][0] is not module.__spec__:
    _imported[name] = module.__spec__, _content(name)
  return module


def file(name: str) -> str | None:
  """Of an imported module; None where it has none, as one of a notebook."""
  return getattr(sys.modules.get(name), "__file__", None)


def as_imported(names: Sequence[str]) -> bytes:
  """What the files of modules that were `load`ed held then, one after the other."""
  return b"".join(_imported[name][1] for name in names if name in _imported)


def changed(names: Sequence[str]) -> list[str]:
  """Those of them whose files hold something else now."""
  return [
    name
    for name in dict.fromkeys(names)
    if name in _imported and _content(name) != _imported[name][1]
  ]


def make(field: str, name: str, *config: ModelConfig | BlockConfig, rngs: nnx.Rngs) -> nnx.Module:
  """The module that a function of one's own makes, which a config field names.

  Args:
    name: 'package.module:function'.
    config: what it takes beside `rngs`.
  """
  what, takes = "layer", "(config, block, rngs=rngs)"
  if field == "network":
    what, takes = "network", "(config, rngs=rngs)"
  named = f"{field} names the {what} {name!r}, which cannot be"
  make_it = function(named, name)
  try:
    return make_it(*config, rngs=rngs)
  except TypeError as error:
    place = line_in(error, [file(module_of(name))])
    said = f"{place}: {first_line(error)}" if place else first_line(error)
    raise ConfigError(f"{named} made ({said}); it is called with {takes}") from error


def function(named: str, name: str) -> Callable[..., Any]:
  """What a config names by 'package.module:function'.

  Args:
    named: how a message begins that goes on with why it cannot be imported.
  """
  module, _, attribute = name.partition(":")
  try:
    return getattr(load(module), attribute)
  except Exception as error:  # whatever a module of somebody else's raises
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
      here = pathlib.Path(*module.split(".")).with_suffix(".py")
      hint = f"; {here} is found by PYTHONPATH=. in front of the command" if here.is_file() else ""
    raise ConfigError(f"{named} imported: {type(error).__name__}: {error}{hint}") from error


def _content(name: str) -> bytes:
  path = pathlib.Path(file(name) or "")
  return path.read_bytes() if path.is_file() else b""
