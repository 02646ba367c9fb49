"""Evaluation protocols: which clips train and which evaluate, as functions of the clip table.

xsub            NTU RGB+D 60 and 120, cross-subject: the published training performers
xview           NTU RGB+D 60, cross-view: cameras 2 and 3 train
xset            NTU RGB+D 120, cross-setup: even setups train
cross_subject   odd subjects train, even ones evaluate (UTD-MHAD)
given           the source's own split, from column `split`, or given:column=split_xsub
kfold           kfold:column=subject,k=5,fold=0,seed=0: whole subjects, in k random groups
leave_one_out   leave_one_out:column=subject,value=3: that subject evaluates
all             every clip trains, and every clip evaluates
"""

import re
from collections.abc import Callable

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.data.data_set import DataSet
from mstgcn_jax.errors import ConfigError

# Liu et al. 2020, section 4.2. The first 20 are NTU RGB+D 60's (Shahroudy et al. 2016); the others
# do not occur there, so one list serves both.
_XSUB_PERFORMERS = (
  1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38,
  45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89,
  91, 92, 93, 94, 95, 97, 98, 100, 103,
)  # fmt: skip


def split(data_set: DataSet, protocol: str) -> tuple[np.ndarray, np.ndarray]:
  """Rows of the clip table that train and that evaluate, int64, ascending.

  Args:
    protocol: a name of the list above, with options as in 'kfold:column=subject,k=5,fold=0'.
  Raises:
    ConfigError: unknown protocol, option or value, or a column that the data set does not have.
  """
  name, _, text = protocol.partition(":")
  if name not in _PROTOCOLS:
    raise ConfigError(f"protocol {protocol!r} is unknown; expected one of {', '.join(_PROTOCOLS)}")
  function, defaults = _PROTOCOLS[name]
  options = _options(protocol, text, defaults)
  train, evaluate = function(data_set, **options)
  return np.flatnonzero(train), np.flatnonzero(evaluate)


def _options(protocol: str, text: str, defaults: dict[str, str | int]) -> dict[str, str | int]:
  options = dict(defaults)
  # A comma may be part of a value: it separates only where the name of an option follows.
  for item in filter(None, re.split(rf",(?=(?:{'|'.join(defaults)})=)", text)):
    key, equals, value = item.partition("=")
    if key not in defaults or not equals:
      known = ", ".join(f"{k}={v}" for k, v in defaults.items()) or "none"
      raise ConfigError(f"protocol {protocol!r}: option {item!r} is unknown; options: {known}")
    if isinstance(defaults[key], int):
      try:
        options[key] = int(value)
      except ValueError:
        raise ConfigError(
          f"protocol {protocol!r}: {key} must be a whole number, not {value!r}"
        ) from None
    else:
      options[key] = value
  return options


_Masks = tuple[np.ndarray, np.ndarray]


def _numbers(data_set: DataSet, column: str) -> np.ndarray:
  values = data_set.column(column)
  if values.dtype.kind != "i":
    raise ConfigError(
      f"this protocol goes by numbers in column {column!r}; {data_set.name} has texts there, such "
      f"as {str(values[0])!r}: take kfold:column={column} or leave_one_out:column={column},value="
    )
  return values


def _by_number(
  column: str, trains: Callable[[np.ndarray], np.ndarray]
) -> Callable[[DataSet], _Masks]:
  def masks(data_set: DataSet) -> _Masks:
    train = trains(_numbers(data_set, column))
    return train, ~train

  return masks


def _given(data_set: DataSet, column: str) -> _Masks:
  values = data_set.column(column)
  return np.isin(values, ("train",)), np.isin(values, ("val", "test"))


def _kfold(data_set: DataSet, column: str, k: int, fold: int, seed: int) -> _Masks:
  values = np.unique(data_set.column(column))
  if not 2 <= k <= len(values):
    raise ConfigError(
      f"kfold: k={k} is not possible with the {len(values)} values of column {column!r}; "
      f"expected 2 to {len(values)}"
    )
  if not 0 <= fold < k:
    raise ConfigError(f"kfold: fold={fold} is outside 0..{k - 1}")
  if seed < 0:
    raise ConfigError(f"kfold: seed={seed} is not possible; expected 0 or more")
  shuffled = np.random.default_rng(seed).permutation(values)
  evaluate = np.isin(data_set.column(column), shuffled[fold::k])
  return ~evaluate, evaluate


def _leave_one_out(data_set: DataSet, column: str, value: str) -> _Masks:
  evaluate = data_set.column(column).astype(np.str_) == value
  if not evaluate.any():
    values = np.unique(data_set.column(column))
    raise ConfigError(
      f"leave_one_out: no clip has {column} {value!r}; there are {words.listed(values)}"
    )
  return ~evaluate, evaluate


def _all(data_set: DataSet) -> _Masks:
  every = np.ones(len(data_set), dtype=bool)
  return every, every


_PROTOCOLS = {
  "xsub": (_by_number("subject", lambda subject: np.isin(subject, _XSUB_PERFORMERS)), {}),
  "xview": (_by_number("camera", lambda camera: np.isin(camera, (2, 3))), {}),
  "xset": (_by_number("setup", lambda setup: setup % 2 == 0), {}),
  "cross_subject": (_by_number("subject", lambda subject: subject % 2 == 1), {}),
  "given": (_given, {"column": "split"}),
  "kfold": (_kfold, {"column": "subject", "k": 5, "fold": 0, "seed": 0}),
  "leave_one_out": (_leave_one_out, {"column": "subject", "value": ""}),
  "all": (_all, {}),
}
