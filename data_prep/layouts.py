"""What clips that come without a description are: their axes, their layout of joints, a score."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_prep import raw_values
from data_prep.readers.interface import Coordinates
from mstgcn_jax import skeletons
from mstgcn_jax.data import normalise
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

MAX_CHANNELS = 12  # two streams of 3-D coordinates are 6
_HIGHEST_SCORE = 1.5  # HRNet's and RTMPose's go a little beyond 1
_CLEARLY = 0.6  # bones of the right layout are that much shorter (measured: 0.3 to 0.5)
_LONGEST = 0.85  # times the mean distance of joints from the middle of a figure
_LONGEST_OF_HAND = 1.2  # which makes a fist


def is_score(third: np.ndarray) -> bool:
  """Whether the third channel of key points looks like an estimator's score."""
  return bool(third.any() and third.min() >= 0 and third.max() <= _HIGHEST_SCORE)


def channel_names(clips: Sequence[np.ndarray]) -> tuple[str, ...]:
  """What the channels of clips [..., channel] seem to be, the third z or a score; () beyond 3."""
  count = clips[0].shape[-1]
  if count > 3:
    return ()
  scored = count == 3 and raw_values.majority(is_score(clip[..., 2]) for clip in clips)
  return ("x", "y", "score") if scored else ("x", "y", "z")[:count]


def moves(skeleton: Skeleton) -> bool:
  """Whether `normalise.normalise` turns or centres clips of this layout."""
  return normalise.turns(skeleton) or skeleton.center is not None


def score_warnings(clips: Sequence[np.ndarray], skeleton: Skeleton) -> list[str]:
  """A line to print where clips [..., 3] to be turned or centred seem to hold x, y, score."""
  if not moves(skeleton) or not raw_values.majority(is_score(clip[..., 2]) for clip in clips):
    return []
  return [
    "the third channel lies between 0 and 1, as a score does, but is turned or centred as a "
    "coordinate; if it is none, prepare again with --as-is --overwrite"
  ]


def corner_warnings(clips: Sequence[np.ndarray]) -> list[str]:
  """A line to print where clips in the plane [..., x y (score)] seem to count from a corner."""
  if not raw_values.majority(clip.any() and clip[..., :2].min() >= 0 for clip in clips):
    return []
  most = max(float(clip[..., :2].max()) for clip in clips)
  return [
    f"x and y are never below 0 (and up to {most:.4g}), as places in a picture that count from its "
    "corner: augmentation mirrors, turns and scales about 0, 0. Save x/width - 0.5 and "
    "0.5 - y/height and prepare again with --overwrite"
  ]


def check_axes(shapes: Sequence[tuple[int, ...]]) -> list[str]:
  """A line to print where clips [person, frame, joint, channel] may have their axes otherwise.

  Args:
    shapes: of clips that most are like; a clip of one person may lack its first axis.
  Raises:
    DataError: the last axis cannot be channels.
  """
  shape = raw_values.majority(shapes)
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


# Not read under a name, but to be told, by its bones, from the one that has as many joints.
_RIVALS = {
  "shrec": Skeleton(
    "SMPL's body (HumanML3D)",
    joints=tuple(map(str, range(22))),
    bone_parents=(0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
  ),
}
_CALLED = {
  "ntu_rgbd": "Kinect v2, as in NTU RGB+D",
  "body_25": "OpenPose's BODY_25",
  "kinetics": "OpenPose with 18 joints",
  "coco": "COCO's key points",
  "h36m": "Human3.6M's joints",
  "halpe26": "Halpe's body, as of AlphaPose",
  "mediapipe": "MediaPipe Pose",
  "utd_mhad": "Kinect v1 in UTD-MHAD's order",
  "nw_ucla": "Kinect v1 in its SDK's order",
  "msr_action3d": "Kinect v1 in MSR-Action3D's order",
  "jhmdb": "JHMDB's puppet",
  "shrec": "a hand, as in SHREC'17",
  "hand21": "a hand, as of MediaPipe or OpenPose",
}
_DEPTH = ("ntu_rgbd", "utd_mhad", "nw_ucla", "msr_action3d")  # only ever measured in 3-D
_USUAL = ("ntu_rgbd", "coco")  # taken where the bones do not tell
_FILE = (
  "--skeleton FILE.json for a layout of your own, such as "
  '{"name": "arm", "joints": ["shoulder", "elbow", "hand"], "inward": [["elbow", "shoulder"], '
  '["hand", "elbow"]]}, where inward pairs every joint with the one it hangs on'
)


# Long: the cases of one choice, in the order in which they are asked.
def skeleton_for(
  asked: str | None,
  clips: Sequence[np.ndarray],
  doubts: Sequence[str] = (),
  *,
  up: str = "",
  doubtful: bool = False,
) -> tuple[Skeleton, tuple[str, ...]]:
  """The layout asked for, or the one of those with so many joints whose bones fit.

  Args:
    asked: the layout asked for, as `skeletons.resolve` takes it; None for none.
    clips: some, [..., joint, channel], all with as many joints and channels.
    doubts: what `check_axes` says of them; the cause, maybe, where no layout fits.
    up: the axis that points up, as in `Coordinates`, where that is known.
    doubtful: whether clips that are no bodies with it are taken all the same, and said to be: for
      formats that come from others' preparation, which the publisher has looked at.
  Returns:
    The layout, and lines to print that say what was chosen, why, and what else it could be.
  Raises:
    ConfigError: none or several fit, or what fits best is no body.
    DataError: the layout asked for has another number of joints.
  """
  # One number without end makes every mean NaN, and NaN passes for a body.
  clips = [raw_values.plausible(clip) for clip in clips]
  num_joints = clips[0].shape[-2]
  if asked is not None:
    skeleton = skeletons.resolve(asked)
    if skeleton.num_joints != num_joints:
      raise DataError(
        f"the clips have {num_joints} joints, skeleton {skeleton.name} has {skeleton.num_joints}; "
        "choose another with --skeleton"
      )
    return skeleton, ()
  known = [name for name in skeletons.names() if skeletons.get(name).num_joints == num_joints]
  flat = clips[0].shape[-1] == 2 or raw_values.majority(is_score(clip[..., 2]) for clip in clips)
  dimensions = 2 if flat else 3
  fitting = [name for name in known if not (flat and name in _DEPTH)]
  lengths = {name: _bone_length(clips, skeletons.get(name).inward, dimensions) for name in fitting}
  name = _choose(lengths)
  if name is None:
    found = f"fits {' and '.join(fitting or known)}" if known else "fits no known layout"
    why = ", measured in 3-D, while the clips have two coordinates" if known and not fitting else ""
    raise ConfigError(
      f"the clips have {num_joints} joints, which {found}{why}; say which with --skeleton NAME, or "
      f"{_FILE}{_or(doubts)}"
    )
  skeleton = skeletons.get(name)
  note = f"{num_joints} joints: taken for {name}, {_CALLED[name]}"
  if rival := _RIVALS.get(name):
    if _bone_length(clips, rival.inward, dimensions) < _CLEARLY * lengths[name]:
      raise ConfigError(
        f"the clips have joints that hang together otherwise than those of {name}; they seem to be "
        f"{rival.name}. Say which they are: --skeleton {name}, or {_FILE}{_or(doubts)}"
      )
    note += f"; {rival.name} has as many: if it is that, give --skeleton FILE.json"
  reason = "" if rival else implausible(skeleton, clips, dimensions, up)
  if reason and not doubtful:
    others = "".join(f", {other}" for other in known if other != name)
    raise ConfigError(
      f"the clips have {num_joints} joints as {name} has, but {reason}; say which layout they "
      f"have: --skeleton {name}{others}, or {_FILE}{_or(doubts)}"
    )
  note += "".join(
    f"; {other} ({_CALLED[other]}) has as many{_why_not(other, name, lengths)}: if it is that, say "
    f"--skeleton {other}"
    for other in known
    if other != name
  )
  doubt = f"these are hardly bodies of {name}: {reason}; look at one with `show`"
  return skeleton, (note, doubt) if reason else (note,)


def _choose(lengths: Mapping[str, float]) -> str | None:
  """The layout whose bones are clearly the shortest, else the usual one, if any; of one, it."""
  names = sorted(lengths, key=lambda name: lengths[name])
  if len(names) == 1 or (names and lengths[names[0]] < _CLEARLY * lengths[names[1]]):
    return names[0]
  return next((name for name in _USUAL if name in names), None)


def _why_not(other: str, name: str, lengths: Mapping[str, float]) -> str:
  if other not in lengths:
    return ", but is only measured in 3-D"
  ratio = lengths[other] / max(lengths[name], 1e-12)
  return f", but its bones would be {ratio:.1f} times as long" if ratio > 1 / _CLEARLY else ""


def _or(doubts: Sequence[str]) -> str:
  return "".join(f". Or {doubt}" for doubt in doubts)


def implausible(
  skeleton: Skeleton, clips: Sequence[np.ndarray], dimensions: int, up: str = ""
) -> str:
  """Why clips of these joints would be no bodies; '' where they may be.

  Bones are short: on average half as long as joints are from the middle of a figure (at most 0.7 in
  recordings and stick people of all layouts, 1.1 in a fist; with joints in another order 0.9 and
  more, of a hand 1.2). How much their lengths vary does not tell right from wrong: by 5 to 17 % of
  it where it is right, by 4 to 15 % where joints are in another order.
  """
  size = _size(clips, dimensions)
  length = _bone_length(clips, skeleton.inward, dimensions)
  whose, longest = "a body's", _LONGEST
  if "pinky_tip" in skeleton.joints:
    whose, longest = "a hand's", _LONGEST_OF_HAND
  if size and length > longest * size:
    return (
      f"its bones would be {length / size:.2f} times as long as joints are from the middle of the "
      f"figure, and {whose} are at most {longest:g}"
    )
  if up and raw_values.majority(upside_down(clip, skeleton, up) for clip in clips):
    return f"heads would lie below feet, while {up} points up"
  return ""


def turned(skeleton: Skeleton, units: str = "") -> Coordinates:
  """What the coordinates are that `normalise.normalise` has turned."""
  return Coordinates(("x", "y", "z"), units, "z" if skeleton.vertical is not None else "")


def upside_down(clip: np.ndarray, skeleton: Skeleton, up: str) -> bool:
  """Whether, in most of a clip [..., joint, channel], the upper body is below the legs."""
  sign, axis = (-1 if up.startswith("-") else 1), "xyz".index(up[-1])
  upper, lower = (
    [i for i, joint in enumerate(skeleton.joints) if any(word in joint for word in words)]
    for words in (("head", "nose", "neck", "shoulder"), ("knee", "ankle"))
  )
  if not upper or not lower or axis >= clip.shape[-1]:
    return False
  seen, heights = clip.any(axis=-1), sign * clip[..., axis].astype(np.float64)
  both = seen[..., upper].any(axis=-1) & seen[..., lower].any(axis=-1)
  if not both.any():
    return False
  above, below = (
    heights[..., joints].sum(axis=-1)[both] / seen[..., joints].sum(axis=-1)[both]
    for joints in (upper, lower)
  )
  return bool(np.median(above - below) < 0)


def _size(clips: Sequence[np.ndarray], dimensions: int) -> float:
  """Mean distance of tracked joints from the middle of their figure."""
  total, count = 0.0, 0
  for clip in clips:
    seen, points = clip.any(axis=-1), clip[..., :dimensions].astype(np.float64)
    number = np.maximum(seen.sum(axis=-1), 1)[..., None]
    middle = points.sum(axis=-2) / number  # untracked joints add 0
    distances = np.linalg.norm(points - middle[..., None, :], axis=-1)[seen]
    total, count = total + float(distances.sum()), count + len(distances)
  return total / max(count, 1)


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
