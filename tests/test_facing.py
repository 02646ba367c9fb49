"""Turning to the front about the upward axis: nobody ends up on their head."""

import numpy as np
import pytest
import stick_poses

from mstgcn_jax import skeletons
from mstgcn_jax.data import facing, normalise

NTU = skeletons.get("ntu_rgbd")
HEAD, ANKLE = 3, 14


def standing(seed: int, degrees: float, up: str) -> np.ndarray:
  """A stick person [frame, joint, 3] turned about the upward axis, which is `up`."""
  person = stick_poses.people(4, seed)[0] * [-1, 1, -1]  # as Kinect has who faces it
  c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
  person = person @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
  return (person if up == "y" else person[..., [0, 2, 1]] * [1, -1, 1]).astype(np.float32)


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("degrees", [0, 90, 170, 180, 185, 270])
def test_whoever_stands_any_way_round_ends_up_on_their_feet_and_to_the_front(up, degrees):
  for seed in range(4):
    turned = facing.to_the_front([standing(seed, degrees, up)], NTU, up)
    (person,) = normalise.normalise(turned, NTU, by_sum=False)
    right, left = NTU.horizontal
    across = person[0, right] - person[0, left]
    upright = person[0, HEAD] - person[0, ANKLE]
    assert across[0] > 0 and np.abs(across[1:]).max() < 1e-5
    assert upright[2] > 0.9 * np.linalg.norm(upright)


def test_it_is_a_turn_about_the_upward_axis_alone():
  person = standing(0, 200, "y")
  (turned,) = facing.to_the_front([person], NTU, "y")
  np.testing.assert_array_equal(turned[..., 1], person[..., 1])
  # float32 sums of three products
  np.testing.assert_allclose(
    np.linalg.norm(turned, axis=-1), np.linalg.norm(person, axis=-1), rtol=1e-6
  )
  assert np.linalg.det(np.linalg.lstsq(person[0], turned[0], rcond=None)[0]) > 0.99


def test_the_first_frame_with_both_joints_decides_and_without_any_nothing_is_turned():
  person = standing(0, 200, "y")
  lost = person.copy()
  lost[:3, NTU.horizontal[0]] = 0
  (turned,) = facing.to_the_front([lost], NTU, "y")
  across = turned[3, NTU.horizontal[0]] - turned[3, NTU.horizontal[1]]
  assert across[0] > 0 and abs(across[2]) < 1e-5
  lost[:, NTU.horizontal[1]] = 0
  np.testing.assert_array_equal(facing.to_the_front([lost], NTU, "y")[0], lost)
  assert facing.to_the_front([], NTU, "y") == []
  hand = stick_poses.hand(4).astype(np.float32)
  np.testing.assert_array_equal(facing.to_the_front([hand], skeletons.get("hand21"), "y")[0], hand)
