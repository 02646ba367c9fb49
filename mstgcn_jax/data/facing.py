"""Turning a clip about its upward axis, so that whoever it shows faces the camera."""

from collections.abc import Sequence

import numpy as np

from mstgcn_jax.skeletons import Skeleton

# Axes that may point up.
AXES = {
  name: sign * np.eye(3)["xyz".index(name[-1])]
  for sign, names in ((1, ("x", "y", "z")), (-1, ("-x", "-y", "-z")))
  for name in names
}


def with_up(persons: Sequence[np.ndarray], up: str, wanted: str) -> list[np.ndarray]:
  """The clip [frame, joint, 3] each, turned so that its axis `up` becomes the axis `wanted`."""
  a, b = AXES[up], AXES[wanted]
  if a @ b > 0:
    return list(persons)
  if a @ b < 0:  # half a turn about the next axis
    turn = 2 * np.diag(np.roll(np.abs(a), 1)) - np.eye(3)
  else:
    turn = np.eye(3) - np.outer(a, a) - np.outer(b, b) + np.outer(b, a) - np.outer(a, b)
  return [(person @ turn.T).astype(np.float32) for person in persons]


def to_the_front(persons: Sequence[np.ndarray], skeleton: Skeleton, up: str) -> list[np.ndarray]:
  """The clip turned so that the first person's left-to-right line, seen from above, lies along x.

  `normalise.normalise` then has only tilts left to take out. It turns that line to x the shortest
  way, which for somebody with the back to the camera is half a turn about any axis, and upside down
  for one in twenty.

  Args:
    persons: [frame, joint, 3] each, zero where untracked.
    skeleton: with `horizontal`; without, the clip is left as it is.
    up: the axis that points up, or down: 'y', '-z', …
  """
  if skeleton.horizontal is None or not len(persons):
    return list(persons)
  right, left = skeleton.horizontal
  across = persons[0][:, right] - persons[0][:, left]
  aside, ahead = (axis for axis in range(3) if axis != "xyz".index(up[-1]))
  both = persons[0][:, right].any(axis=-1) & persons[0][:, left].any(axis=-1)
  both &= across[:, [aside, ahead]].any(axis=-1)
  if not both.any():
    return list(persons)
  x, y = across[both.argmax(), [aside, ahead]].astype(np.float64)
  turn = np.eye(3)
  turn[np.ix_([aside, ahead], [aside, ahead])] = np.array([[x, y], [-y, x]]) / np.hypot(x, y)
  return [(person @ turn.T).astype(np.float32) for person in persons]
