"""What clips that come without a description are: their axes, their layout of joints, a score."""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.readers import exchange
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

MAX_CHANNELS = 12  # two streams of 3-D coordinates are 6
_HIGHEST_SCORE = 1.5  # HRNet's and RTMPose's go a little beyond 1
_CLEARLY = 0.6  # bones of the right layout are that much shorter (measured: 0.3 to 0.5)


def is_score(third: np.ndarray) -> bool:
  """Whether the third channel of key points looks like an estimator's score."""
  return bool(third.any() and third.min() >= 0 and third.max() <= _HIGHEST_SCORE)


def score_warnings(clips: Sequence[np.ndarray], skeleton: Skeleton) -> list[str]:
  """A line to print where clips [..., 3] to be turned or centred seem to hold x, y, score."""
  moved = normalise.turns(skeleton) or skeleton.center is not None
  if not moved or not exchange.majority(is_score(clip[..., 2]) for clip in clips):
    return []
  return [
    "the third channel lies between 0 and 1, as a score does, but is turned or centred as a "
    "coordinate; if it is none, prepare again with --as-is --overwrite"
  ]


def check_axes(shapes: Sequence[tuple[int, ...]]) -> list[str]:
  """A line to print where clips [person, frame, joint, channel] may have their axes otherwise.

  Args:
    shapes: of clips that most are like; a clip of one person may lack its first axis.
  Raises:
    DataError: the last axis cannot be channels.
  """
  shape = exchange.majority(shapes)
  shown_shape = f"the clips have the shape {shape}, or alike"
  if not 2 <= shape[-1] <= MAX_CHANNELS:
    places = ("channel, frame, joint", "channel, frame, joint, person")[len(shape) - 3]
    order = ("1, 2, 0", "3, 1, 2, 0")[len(shape) - 3]
    hint = f"; if it is [{places}], save clip.transpose({order})" if shape[0] in (2, 3) else ""
    raise DataError(
      f"{shown_shape}; the last axis should be 2 or 3 coordinates, maybe with a score{hint}"
    )
  whole = [shape for shape in shapes if len(shape) == 4]
  if whole and all(shape[0] == 3 and shape[-1] == 2 for shape in whole):
    return [
      f"{shown_shape}: read as 3 persons in 2-D. If they are [channel, frame, joint, person], as "
      "ST-GCN orders them, save clip.transpose(3, 1, 2, 0) and prepare again with --overwrite"
    ]
  if whole and 2 * sum(shape[0] > shape[1] for shape in whole) > len(shapes):
    return [
      f"{shown_shape}: read as {shape[0]} persons in {shape[1]} frames. If they are [frame, "
      "person, joint, channel], save clip.swapaxes(0, 1) and prepare again with --overwrite"
    ]
  return []


@dataclasses.dataclass(frozen=True)
class _Layout:
  """A layout that shares its number of joints with one known here, and its bones' parents."""

  name: str
  parents: tuple[int, ...]


_RIVALS = {
  "ntu_rgbd": _Layout(
    "OpenPose's BODY_25",
    (1, 1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 10, 8, 12, 13, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11),
  ),
  "coco": _Layout("Human3.6M", (0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)),
  "shrec": _Layout(
    "SMPL's body (HumanML3D)",
    (0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
  ),
}  # fmt: skip
_CALLED = {
  "ntu_rgbd": "Kinect v2, as in NTU RGB+D",
  "kinetics": "OpenPose with 18 joints",
  "coco": "COCO's key points",
  "mediapipe": "MediaPipe Pose",
  "shrec": "a hand, as in SHREC'17",
}
_FILE = (
  "--skeleton FILE.json for a layout of your own, such as "
  '{"name": "arm", "joints": ["shoulder", "elbow", "hand"], "inward": [["elbow", "shoulder"], '
  '["hand", "elbow"]]}, where inward pairs every joint with the one it hangs on'
)


def skeleton_for(
  args: argparse.Namespace, clips: Sequence[np.ndarray], doubts: Sequence[str] = ()
) -> tuple[Skeleton, tuple[str, ...]]:
  """The layout asked for, or the only one known with so many joints.

  Args:
    clips: some, [..., joint, channel], all with as many joints and channels.
    doubts: what `check_axes` says of them; the cause, maybe, where no layout fits.
  Returns:
    The layout, and lines to print that say what was chosen and why.
  Raises:
    ConfigError: none or several have so many joints, or another one fits the clips better.
    DataError: the layout asked for has another number of joints.
  """
  num_joints = clips[0].shape[-2]
  if args.skeleton is not None:
    skeleton = skeletons.resolve(args.skeleton)
    if skeleton.num_joints != num_joints:
      raise DataError(
        f"the clips have {num_joints} joints, skeleton {skeleton.name} has {skeleton.num_joints}; "
        "choose another with --skeleton"
      )
    return skeleton, ()
  fitting = [name for name in skeletons.names() if skeletons.get(name).num_joints == num_joints]
  if len(fitting) != 1:
    found = f"fits {' and '.join(fitting)}" if fitting else "fits no known layout"
    raise ConfigError(
      f"the clips have {num_joints} joints, which {found}; say which with --skeleton NAME, or "
      f"{_FILE}{_or(doubts)}"
    )
  skeleton = skeletons.get(fitting[0])
  flat = clips[0].shape[-1] == 2 or exchange.majority(is_score(clip[..., 2]) for clip in clips)
  note = f"{num_joints} joints: taken for {skeleton.name}, {_CALLED[skeleton.name]}"
  if rival := _RIVALS.get(skeleton.name):
    if reason := _implausible(skeleton, rival, clips, flat):
      raise ConfigError(
        f"the clips {reason}; they seem to be {rival.name}. Say which they are: --skeleton "
        f"{skeleton.name}, or {_FILE}{_or(doubts)}"
      )
    too = " and is in 3-D, as the clips" if skeleton.name == "coco" and not flat else ""
    note += f"; {rival.name} has as many{too}: if it is that, give --skeleton FILE.json"
  return skeleton, (note,)


def _or(doubts: Sequence[str]) -> str:
  return "".join(f". Or {doubt}" for doubt in doubts)


def _implausible(
  skeleton: Skeleton, rival: _Layout, clips: Sequence[np.ndarray], flat: bool
) -> str:
  """Why clips are rather of another layout with as many joints; '' where they need not be."""
  if skeleton.name == "ntu_rgbd" and flat:
    return f"have two coordinates, while {skeleton.name} is measured in 3-D"
  dimensions = 2 if flat else 3
  bones = [(child, parent) for child, parent in enumerate(rival.parents) if child != parent]
  theirs, ours = (_bone_length(clips, edges, dimensions) for edges in (bones, skeleton.inward))
  if theirs < _CLEARLY * ours:
    return f"have joints that hang together otherwise than those of {skeleton.name}"
  return ""


def _bone_length(
  clips: Sequence[np.ndarray], edges: Iterable[tuple[int, int]], dimensions: int
) -> float:
  """Mean distance of the two joints of an edge, where both are tracked."""
  total, count = 0.0, 0
  for clip in clips:
    seen, points = clip.any(axis=-1), clip[..., :dimensions].astype(np.float64)
    for child, parent in edges:
      both = seen[..., child] & seen[..., parent]
      lengths = np.linalg.norm(points[..., child, :] - points[..., parent, :], axis=-1)[both]
      total, count = total + float(lengths.sum()), count + len(lengths)
  return total / max(count, 1)
