"""Where the reference's outputs lie: a subset with the tests, all of them in a checkout beside."""

import pathlib

import pytest

_TESTS = pathlib.Path(__file__).parent
_LEFT_OUT = (
  "nothing is wrong: {} cannot be passed on with the project; where it is developed this test runs"
)
SHARED = _TESTS.parents[1] / "shared"


def golden(name: str) -> pathlib.Path:
  """Path of a golden file such as 'model/ms.npz'; skips the test where it is not at hand."""
  for root in (_TESTS / "golden", SHARED / "golden"):
    if (root / name).exists():
      return root / name
  pytest.skip(_LEFT_OUT.format(f"golden/{name}, an output of the reference,"))


def shared(name: str) -> pathlib.Path:
  """Path below ../shared (real recordings); skips the test where it is not at hand."""
  if not (SHARED / name).exists():
    pytest.skip(_LEFT_OUT.format(f"../shared/{name}, real recordings or figures of them,"))
  return SHARED / name
