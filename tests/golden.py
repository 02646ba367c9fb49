"""Where the reference's outputs lie: a subset with the tests, all of them in a checkout beside."""

import pathlib

import pytest

_TESTS = pathlib.Path(__file__).parent
SHARED = _TESTS.parents[1] / "shared"


def golden(name: str) -> pathlib.Path:
  """Path of a golden file such as 'model/ms.npz'; skips the test where it is not at hand."""
  for root in (_TESTS / "golden", SHARED / "golden"):
    if (root / name).exists():
      return root / name
  pytest.skip(f"golden/{name} is not among the committed fixtures and ../shared is absent")


def shared(name: str) -> pathlib.Path:
  """Path below ../shared (real recordings); skips the test where it is not at hand."""
  if not (SHARED / name).exists():
    pytest.skip(f"../shared/{name} is absent (real recordings are not part of this project)")
  return SHARED / name
