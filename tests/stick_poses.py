"""Stick people in other layouts and as a camera sees them, for tests of what estimators write."""

import numpy as np

from data_prep.synthetic import stick_people
from mstgcn_jax import skeletons

NTU = stick_people.SKELETON
SIZE = (640, 480)  # pixels of the picture


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def as_layout(joints: np.ndarray, name: str) -> np.ndarray:
  """Stick people [..., 25, 3] in metres with the joints of another layout of bodies."""
  at = {joint: joints[..., i, :] for i, joint in enumerate(NTU.joints)}
  left, up = (
    _unit(at[a] - at[b]) for a, b in (("left_shoulder", "right_shoulder"), ("head", "neck"))
  )
  front = _unit(np.cross(left, up))
  head = at["head"]
  at |= {
    "nose": head + 0.1 * front,
    "face": head,
    "hip": at["spine_base"],
    "mid_hip": at["spine_base"],
    "hip_center": at["spine_base"],
    "belly": at["spine_mid"],
    "spine": at["spine_mid"],
    "thorax": at["spine_shoulder"],
    "shoulder_center": at["spine_shoulder"],
  }
  if name in ("body_25", "kinetics", "halpe26"):
    at["neck"] = at["spine_shoulder"]
  if name in ("halpe26", "h36m"):
    at["head"] = head + 0.12 * up
  for side, sign in (("left", 1), ("right", -1)):
    aside = sign * left
    foot, ankle = at[f"{side}_foot"], at[f"{side}_ankle"]
    eye = head + 0.08 * front + 0.03 * up + 0.03 * aside
    at |= {
      f"{side}_eye": eye,
      f"{side}_eye_inner": eye - 0.012 * aside,
      f"{side}_eye_outer": eye + 0.012 * aside,
      f"{side}_ear": head + 0.08 * aside,
      f"mouth_{side}": head + 0.08 * front - 0.05 * up + 0.02 * aside,
      f"{side}_big_toe": foot - 0.02 * aside,
      f"{side}_foot_index": foot,
      f"{side}_small_toe": foot + 0.04 * aside,
      f"{side}_heel": ankle + 0.3 * (ankle - foot) * [1, 0, 1] - [0, 0.05, 0],
      f"{side}_index": at[f"{side}_hand_tip"],
      f"{side}_pinky": at[f"{side}_hand"],
    }
    if name == "h36m":
      at[f"{side}_foot"] = ankle
  return np.stack([at[joint] for joint in skeletons.get(name).joints], axis=-2)


def hand(frames: int, seed: int = 0) -> np.ndarray:
  """A left hand that opens and closes, its palm to the camera, y up: [frame, 21, 3] in metres."""
  rng = np.random.default_rng(seed)
  bend = 0.7 * (1 + np.sin(np.arange(frames) / 4 + rng.uniform(0, 6))) / 2
  joints = np.zeros((frames, 21, 3))
  for finger in range(5):
    first = 1 + 4 * finger
    spread = np.radians((50, 14, 0, -12, -26)[finger])
    way = np.array([-np.sin(spread), np.cos(spread), 0])
    length = (0.04, 0.09, 0.09, 0.085, 0.08)[finger]
    joints[:, first] = length * way
    for k in range(3):
      angle = bend * (k + 1) * (0.4 if finger == 0 else 1)
      step = np.cos(angle)[:, None] * way + np.sin(angle)[:, None] * np.array([0, 0, 1])
      joints[:, first + k + 1] = joints[:, first + k] + (0.03, 0.045, 0.03)[k] * step
  return joints + np.array([0.2 * np.sin(seed), 0.1, 0])


def people(action: int, seed: int = 0, frames: int = 40) -> np.ndarray:
  """What stick people do: [person, frame, 25, 3] in metres, y up, facing z."""
  performers = [stick_people.performer(2 * seed + i) for i in range(2)]
  return stick_people.simulate(action, performers, np.random.default_rng(seed), frames)


def pixels(joints: np.ndarray) -> np.ndarray:
  """[..., 3] in metres as a camera 4 m in front has them, a picture of `SIZE`: [..., 2], y down."""
  x, y, z = np.moveaxis(np.asarray(joints, np.float64), -1, 0)
  scale = 520 / (4 - z)
  return np.stack([SIZE[0] / 2 + scale * x, SIZE[1] / 2 - scale * (y - 0.9)], axis=-1)
