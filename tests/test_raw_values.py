"""Values in strangers' files: what counts as a number, a name, a label; what most of them are."""

import numpy as np
import pytest

from data_prep import raw_values
from mstgcn_jax.errors import DataError

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
  ("value", "said"),
  [
    (np.nan, "nan; expected a finite number"),
    (-np.inf, "-inf; expected a finite number"),
    (2e9, r"2e\+09; expected at most 1e\+09"),
    (-2e9, r"-2e\+09; expected at most 1e\+09"),
    (1e300, r"1e\+300; expected at most 1e\+09"),  # which float32 would call infinite
  ],
)
def test_a_coordinate_beyond_reason_is_named_with_the_first_place_that_has_it(value, said):
  person = np.full((3, 4, 2), -1e9)
  raw_values.check_finite(person)
  assert raw_values.as_float32(person).dtype == np.float32
  person[1, 3, 1] = value
  person[2] = 1e10
  with pytest.raises(DataError, match=f"^frame 1, joint 3 has the coordinate {said}"):
    raw_values.check_finite(person)
  with pytest.raises(DataError, match=f"^a coordinate is {said}"):
    raw_values.as_float32(person)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_joint_with_one_number_that_is_none_is_zero_and_the_others_stay(kind):
  joints = np.ones((4, 2), kind)
  assert raw_values.without_nan(joints) is joints  # not copied: it may be mapped from a file
  joints[1:3, 1] = np.nan, np.inf
  for function, zero in ((raw_values.without_nan, [1]), (raw_values.plausible, [1, 2])):
    found = function(joints)
    np.testing.assert_array_equal(found, np.where(np.isin(range(4), zero)[:, None], 0, joints))
    assert found.dtype == kind


def test_a_label_is_a_whole_number_of_32_bits_and_a_name_can_be_printed():
  values = [0, -3, 2**31 - 1, 2**31, True, 1.0, "1", None]
  assert list(map(raw_values.is_label, values)) == 3 * [True] + 5 * [False]
  values = ["a b", "h\u00f6ren", "", "a\n", "\0", 7, None]
  assert list(map(raw_values.is_name, values)) == 2 * [True] + 5 * [False]


def test_a_strangers_value_is_shown_short_whatever_it_is():
  assert raw_values.shown("ab") == "'ab'" and len(raw_values.shown("a" * 10**6)) < 100
  assert raw_values.shown(10**5000) == "int" and raw_values.shown([10**5000]) == "list"
  deep = []
  for _ in range(10**5):
    deep = [deep]
  assert len(raw_values.shown(deep)) < 100


def test_some_are_evenly_spread_and_none_is_taken_twice():
  assert raw_values.some(range(10), 4) == [0, 2, 5, 7]
  assert raw_values.some(range(3), 4) == raw_values.some(range(3), 3) == [0, 1, 2]


def test_what_most_have_decides_and_of_equally_many_the_first():
  assert raw_values.majority("abbcc") == "b"

  def shape(item):
    if isinstance(item, str):
      raise DataError(f"{item}\nand more")
    return item

  items = [(3,), "it is damaged", (2,), (), (2,), "so is this"]
  assert raw_values.alike(items, shape, "nothing") == [(2,), (2,)]
  with pytest.raises(DataError, match=r"^nothing$"):
    raw_values.alike([()], shape, "nothing")
  with pytest.raises(DataError, match=r"^nothing \(first: it is damaged"):
    raw_values.alike([(), *items[1::4]], shape, "nothing")
