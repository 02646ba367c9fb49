"""Joint layouts as plain data: `get("ntu_rgbd")`, or your own from a call or a small JSON file."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mstgcn_jax import words
from mstgcn_jax.errors import ConfigError

Edge = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A layout of joints. Every joint is given by its index in `joints`.

  One of `inward` and `bone_parents` may be left out: it then follows from the other. They differ
  where the graph's root is not the bones' (Kinetics: the neck and the nose). Every joint hangs
  together with every other by `inward`; figures of several pieces, such as two hands, give
  `bone_parents` with one root each. `part_edges`, if left out, are the inward edges whose child is
  in the part.

  Attributes:
    name: Short name, used in messages.
    joints: Joint names, in the order of the joint axis of a clip.
    inward: Graph edges (child, parent), pointing to the root.
    bone_parents: One per joint; bone = joint - its parent. A root is its own parent.
    parts: Body parts as joint lists (`pa` attention); every joint in exactly one.
    part_edges: Edges of each part (strategies `parts` and `parts+spatial`).
    center: Joint that is moved to the origin.
    vertical: (bottom, top), rotated parallel to z, which then points to the top.
    horizontal: (right, left), rotated parallel to x, which then points to the right.
    mirror: Left/right pairs, swapped by mirroring.
  """

  name: str
  joints: tuple[str, ...]
  inward: tuple[Edge, ...] = ()
  bone_parents: tuple[int, ...] = ()
  parts: tuple[tuple[int, ...], ...] = ()
  part_edges: tuple[tuple[Edge, ...], ...] = ()
  center: int | None = None
  vertical: Edge | None = None
  horizontal: Edge | None = None
  mirror: tuple[Edge, ...] = ()

  def __post_init__(self):
    for field in dataclasses.fields(self):
      object.__setattr__(self, field.name, plain(getattr(self, field.name)))
    _check_names(self)
    follow = not self.bone_parents
    if follow:
      object.__setattr__(self, "bone_parents", _parents_of(self))
    if not self.inward and isinstance(self.bone_parents, tuple):
      edges = tuple((child, p) for child, p in enumerate(self.bone_parents) if child != p)
      object.__setattr__(self, "inward", edges)
    _check(self)
    roots = sum(parent == joint for joint, parent in enumerate(self.bone_parents))
    _check_pieces(self, 1 if follow else roots)
    if self.parts and not self.part_edges:
      edges = tuple(tuple(e for e in self.inward if e[0] in part) for part in self.parts)
      object.__setattr__(self, "part_edges", edges)

  @property
  def num_joints(self) -> int:
    return len(self.joints)

  def require(self, field: str, operation: str) -> Any:
    """The field's value; a ConfigError that names it, the operation and the skeleton if unset."""
    value = getattr(self, field)
    if value is None or value == ():
      raise ConfigError(
        f"{operation} needs `{field}` of the skeleton, which {self.name!r} does not define; "
        f"leave {operation} out, or give it: dataclasses.replace(skeleton, {field}=...)"
      )
    return value

  def to_dict(self) -> dict[str, Any]:
    """Plain lists and numbers, fit for JSON; `from_dict` reads it back."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> "Skeleton":
    """Reads `to_dict`'s output, or one written by hand, where joints may be given by name."""
    values = dict(values)
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = sorted(str(key) for key in values if key not in known)
    if unknown:
      raise ConfigError(f"skeleton: unknown field {unknown[0]!r}; known: {', '.join(known)}")
    for field in ("name", "joints"):
      if field not in values:
        raise ConfigError(f"skeleton: the field {field!r} is missing")
    joints = values["joints"]
    if not isinstance(joints, (list, tuple)):
      raise ConfigError(f"skeleton: joints must be a list of names, not {joints!r}")
    index = {joint: i for i, joint in enumerate(joints) if isinstance(joint, str)}

    def number(field: str, value: Any) -> Any:
      if isinstance(value, (list, tuple)):
        return tuple(number(field, item) for item in value)
      if isinstance(value, str):
        if value not in index:
          raise ConfigError(f"skeleton {values['name']!r}: {field}: no joint is named {value!r}")
        return index[value]
      return value

    return cls(
      **{
        field: value if field in ("name", "joints") else number(field, value)
        for field, value in values.items()
      }
    )


def plain(value: Any) -> Any:
  """Lists, arrays and numbers of arrays, in dicts, too, as tuples and numbers of Python."""
  if hasattr(value, "tolist"):
    value = value.tolist()
  if isinstance(value, dict):
    return {key: plain(item) for key, item in value.items()}
  return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def _check_names(skeleton: Skeleton) -> None:
  if not isinstance(skeleton.name, str) or not skeleton.name:
    raise ConfigError(f"skeleton: name must be a non-empty string, not {skeleton.name!r}")
  joints = skeleton.joints
  if not isinstance(joints, tuple) or not joints or not all(isinstance(j, str) for j in joints):
    raise ConfigError(f"skeleton {skeleton.name!r}: joints must be a list of names, not {joints!r}")
  twice = [joint for i, joint in enumerate(joints) if joint in joints[:i]]
  if twice:
    raise ConfigError(f"skeleton {skeleton.name!r}: joints: {twice[0]!r} appears twice")


def _parents_of(skeleton: Skeleton) -> tuple[int, ...]:
  """Bone parents that follow from the inward edges: an edge's parent, or the joint itself."""
  if not skeleton.inward and skeleton.num_joints > 1:
    raise ConfigError(
      f"skeleton {skeleton.name!r}: inward and bone_parents are both missing; give bone_parents, "
      "one parent per joint (a root is its own parent)"
    )
  _check_edges(skeleton, "inward", skeleton.inward)
  parents = dict(skeleton.inward)
  if len(parents) < len(skeleton.inward):
    raise ConfigError(
      f"skeleton {skeleton.name!r}: inward gives a joint two parents, so bone_parents don't follow "
      "from it; give bone_parents too"
    )
  return tuple(parents.get(joint, joint) for joint in range(skeleton.num_joints))


def _check_pieces(skeleton: Skeleton, allowed: int) -> None:
  """ConfigError where the inward edges leave more pieces than that, most likely by a lost edge."""
  piece = list(range(skeleton.num_joints))
  for child, parent in skeleton.inward:
    old, new = piece[child], piece[parent]
    piece = [new if number == old else number for number in piece]
  if len(set(piece)) > allowed:
    largest = max(piece, key=piece.count)
    apart = [name for name, number in zip(skeleton.joints, piece, strict=True) if number != largest]
    raise ConfigError(
      f"skeleton {skeleton.name!r}: inward does not connect {words.listed(apart, 5)} with the "
      "other joints: is an edge missing? A figure of several pieces gives bone_parents, in which "
      "each piece has a root that is its own parent"
    )


def _check_joint(skeleton: Skeleton, field: str, value: Any) -> None:
  if type(value) is not int or not 0 <= value < skeleton.num_joints:
    raise ConfigError(
      f"skeleton {skeleton.name!r}: {field}: {value!r} is not a joint index "
      f"in 0..{skeleton.num_joints - 1}"
    )


def _check_edges(skeleton: Skeleton, field: str, edges: Any) -> None:
  if not isinstance(edges, tuple):
    raise ConfigError(f"skeleton {skeleton.name!r}: {field}: expected a list, not {edges!r}")
  for edge in edges:
    if not isinstance(edge, tuple) or len(edge) != 2:
      raise ConfigError(f"skeleton {skeleton.name!r}: {field}: {edge!r} is not a pair of joints")
    for joint in edge:
      _check_joint(skeleton, field, joint)
    if edge[0] == edge[1]:
      raise ConfigError(f"skeleton {skeleton.name!r}: {field}: {edge!r} joins a joint to itself")
  if len(set(edges)) < len(edges):
    raise ConfigError(f"skeleton {skeleton.name!r}: {field}: an edge appears twice")


def _check(skeleton: Skeleton) -> None:
  def refuse(message: str):
    raise ConfigError(f"skeleton {skeleton.name!r}: {message}")

  _check_edges(skeleton, "inward", skeleton.inward)
  _check_edges(skeleton, "mirror", skeleton.mirror)
  for field in ("vertical", "horizontal"):
    if getattr(skeleton, field) is not None:
      _check_edges(skeleton, field, (getattr(skeleton, field),))
  if skeleton.center is not None:
    _check_joint(skeleton, "center", skeleton.center)

  parents = skeleton.bone_parents
  if not isinstance(parents, tuple) or len(parents) != skeleton.num_joints:
    found = len(parents) if isinstance(parents, tuple) else parents
    refuse(
      f"bone_parents: {found!r} given for {skeleton.num_joints} joints; one is needed for each"
    )
  for parent in parents:
    _check_joint(skeleton, "bone_parents", parent)
  for joint in range(skeleton.num_joints):
    ancestor = joint
    for _ in range(skeleton.num_joints):
      ancestor = parents[ancestor]
    if parents[ancestor] != ancestor:
      refuse(f"bone_parents: from joint {joint} they run in a circle; a root is its own parent")

  paired = [joint for pair in skeleton.mirror for joint in pair]
  if len(set(paired)) < len(paired):
    refuse("mirror: a joint is in two pairs")

  for field in ("parts", "part_edges"):
    if not isinstance(getattr(skeleton, field), tuple):
      refuse(f"{field}: expected a list of lists, not {getattr(skeleton, field)!r}")
  for part in skeleton.parts:
    if not isinstance(part, tuple) or not part:
      refuse(f"parts: {part!r} is not a list of joints")
    for joint in part:
      _check_joint(skeleton, "parts", joint)
  for joint in range(skeleton.num_joints) if skeleton.parts else ():
    count = sum(part.count(joint) for part in skeleton.parts)
    if count != 1:
      refuse(f"parts: joint {joint} ({skeleton.joints[joint]}) is in {count} parts, not in one")
  for edges in skeleton.part_edges:
    _check_edges(skeleton, "part_edges", edges)


def _pairs(joints: list[str]) -> tuple[Edge, ...]:
  """Left/right pairs by name: every joint whose name has 'left', with its 'right' twin."""
  return tuple(
    (i, joints.index(joint.replace("left", "right")))
    for i, joint in enumerate(joints)
    if "left" in joint
  )


def _layout(name: str, joints: str, parents: str, **fields: Any) -> Skeleton:
  names = joints.split()
  return Skeleton(
    name,
    tuple(names),
    bone_parents=tuple(int(parent) for parent in parents.split()),
    mirror=_pairs(names),
    **fields,
  )


_SKELETONS = {
  skeleton.name: skeleton
  for skeleton in (
    # Kinect v2, as in NTU RGB+D 60 and 120 (Shahroudy et al. 2016).
    _layout(
      "ntu_rgbd",
      """spine_base spine_mid neck head
      left_shoulder left_elbow left_wrist left_hand
      right_shoulder right_elbow right_wrist right_hand
      left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot
      spine_shoulder left_hand_tip left_thumb right_hand_tip right_thumb""",
      "1 20 20 2  20 4 5 6  20 8 9 10  0 12 13 14  0 16 17 18  20 22 7 24 11",
      parts=(
        (4, 5, 6, 7, 21, 22),
        (8, 9, 10, 11, 23, 24),
        (12, 13, 14, 15),
        (16, 17, 18, 19),
        (0, 1, 2, 3, 20),
      ),
      center=1,
      vertical=(0, 1),
      horizontal=(8, 4),
    ),
    # OpenPose 18, as in Kinetics-skeleton (Yan et al. 2018): image fractions and a score.
    _layout(
      "kinetics",
      """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
      right_hip right_knee right_ankle left_hip left_knee left_ankle
      right_eye left_eye right_ear left_ear""",
      "0 0 1 2 3 1 5 6  2 8 9 5 11 12  0 0 14 15",
      # The graph's root is the neck, the bones' root the nose.
      inward=(
        *((4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5)),
        *((8, 2), (5, 1), (2, 1), (0, 1), (15, 0), (14, 0), (17, 15), (16, 14)),
      ),
      parts=((2, 3, 4), (5, 6, 7), (8, 9, 10), (11, 12, 13), (0, 1, 14, 15, 16, 17)),
    ),
    # Kinect v1, in the order of UTD-MHAD (Chen et al. 2015).
    _layout(
      "utd_mhad",
      """head shoulder_center spine hip_center
      left_shoulder left_elbow left_wrist left_hand
      right_shoulder right_elbow right_wrist right_hand
      left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot""",
      "1 1 1 2  1 4 5 6  1 8 9 10  3 12 13 14  3 16 17 18",
      parts=((4, 5, 6, 7), (8, 9, 10, 11), (12, 13, 14, 15), (16, 17, 18, 19), (0, 1, 2, 3)),
      center=2,
      # As the reference: this short bone leans by 38 degrees (median), so figures do.
      vertical=(3, 2),
      horizontal=(8, 4),
    ),
    # Kinect v1, in the order of its SDK, as in Northwestern-UCLA (Wang et al. 2014).
    _layout(
      "nw_ucla",
      """hip_center spine shoulder_center head
      left_shoulder left_elbow left_wrist left_hand
      right_shoulder right_elbow right_wrist right_hand
      left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot""",
      "1 2 2 2  2 4 5 6  2 8 9 10  0 12 13 14  0 16 17 18",
      parts=((4, 5, 6, 7), (8, 9, 10, 11), (12, 13, 14, 15), (16, 17, 18, 19), (0, 1, 2, 3)),
      center=1,
      vertical=(0, 1),
      horizontal=(8, 4),
    ),
    # COCO key points, as most 2-D pose estimators give them. No joint lies on the spine.
    _layout(
      "coco",
      """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder
      left_elbow right_elbow left_wrist right_wrist left_hip right_hip
      left_knee right_knee left_ankle right_ankle""",
      "0 0 0 1 2 0 0  5 6 7 8 5 6  11 12 13 14",
      parts=((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16), (0, 1, 2, 3, 4)),
    ),
    # MediaPipe Pose (BlazePose). No joint lies on the spine.
    _layout(
      "mediapipe",
      """nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer
      left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder
      left_elbow right_elbow left_wrist right_wrist left_pinky right_pinky
      left_index right_index left_thumb right_thumb left_hip right_hip
      left_knee right_knee left_ankle right_ankle left_heel right_heel
      left_foot_index right_foot_index""",
      """0 0 1 2 0 4 5  3 6 0 0 0 0  11 12 13 14 15 16  15 16 15 16 11 12
      23 24 25 26 27 28  29 30""",
      parts=(
        (11, 13, 15, 17, 19, 21),
        (12, 14, 16, 18, 20, 22),
        (23, 25, 27, 29, 31),
        (24, 26, 28, 30, 32),
        tuple(range(11)),
      ),
      horizontal=(12, 11),
    ),
    # OpenPose's BODY_25 (Cao et al. 2019; order: OpenPose's doc/02_output.md, bones: its figure).
    _layout(
      "body_25",
      """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
      mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle
      right_eye left_eye right_ear left_ear
      left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel""",
      "1 1 1 2 3 1 5 6  1 8 9 10 8 12 13  0 0 15 16  14 19 14 11 22 11",
      parts=(
        (2, 3, 4),
        (5, 6, 7),
        (9, 10, 11, 22, 23, 24),
        (12, 13, 14, 19, 20, 21),
        (0, 1, 8, 15, 16, 17, 18),
      ),
      center=8,
      vertical=(8, 1),
      horizontal=(2, 5),
    ),
    # Halpe's 26 body key points, of AlphaPose (Fang et al. 2022; order: Halpe-FullBody's README).
    # `head` is its top. The nose, on its own in AlphaPose's figures, hangs on the neck.
    _layout(
      "halpe26",
      """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder
      left_elbow right_elbow left_wrist right_wrist left_hip right_hip
      left_knee right_knee left_ankle right_ankle head neck hip
      left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel""",
      "18 0 0 1 2 18 18  5 6 7 8 19 19  11 12 13 14 18 19 19  24 25 24 25 15 16",
      parts=(
        (5, 7, 9),
        (6, 8, 10),
        (11, 13, 15, 20, 22, 24),
        (12, 14, 16, 21, 23, 25),
        (0, 1, 2, 3, 4, 17, 18, 19),
      ),
      center=19,
      vertical=(19, 18),
      horizontal=(6, 5),
    ),
    # Human3.6M's 17 joints as lifting networks give them (Pavllo et al. 2019, VideoPose3D).
    _layout(
      "h36m",
      """hip right_hip right_knee right_foot left_hip left_knee left_foot
      spine thorax neck head
      left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
      "0 0 1 2 0 4 5  0 7 8 9  8 11 12 8 14 15",
      parts=((11, 12, 13), (14, 15, 16), (1, 2, 3), (4, 5, 6), (0, 7, 8, 9, 10)),
      center=0,
      vertical=(0, 8),
      horizontal=(14, 11),
    ),
    # Kinect v1 in the order of MSR-Action3D (Li, Zhang and Liu 2010), which is not its SDK's.
    _layout(
      "msr_action3d",
      """right_shoulder left_shoulder shoulder_center spine right_hip left_hip hip_center
      right_elbow left_elbow right_wrist left_wrist right_hand left_hand
      right_knee left_knee right_ankle left_ankle right_foot left_foot head""",
      "2 2 2 2 6 6 3  0 1 7 8 9 10  4 5 13 14 15 16 2",
      parts=((1, 8, 10, 12), (0, 7, 9, 11), (5, 14, 16, 18), (4, 13, 15, 17), (2, 3, 6, 19)),
      center=3,
      vertical=(6, 3),
      horizontal=(0, 1),
    ),
    # JHMDB's puppet (Jhuang et al. 2013), in 2-D; `head` is the middle of the face.
    _layout(
      "jhmdb",
      """neck belly head right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow
      right_knee left_knee right_wrist left_wrist right_ankle left_ankle""",
      "1 1 0 0 0 1 1 3 4  5 6 7 8 9 10",
      parts=((4, 8, 12), (3, 7, 11), (6, 10, 14), (5, 9, 13), (0, 1, 2)),
      center=1,
    ),
    # One hand, in the one order of MediaPipe Hands and OpenPose (Simon et al. 2017).
    _layout(
      "hand21",
      """wrist thumb_cmc thumb_mcp thumb_ip thumb_tip
      index_mcp index_pip index_dip index_tip middle_mcp middle_pip middle_dip middle_tip
      ring_mcp ring_pip ring_dip ring_tip pinky_mcp pinky_pip pinky_dip pinky_tip""",
      "0 0 1 2 3  0 5 6 7 0 9 10 11  0 13 14 15 0 17 18 19",
      parts=((0, 1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20)),
      center=0,
      vertical=(0, 9),
    ),
    # One hand, as in SHREC'17 (De Smedt et al. 2017); the fingers are its parts.
    _layout(
      "shrec",
      """wrist palm thumb_base thumb_first thumb_second thumb_tip
      index_base index_first index_second index_tip
      middle_base middle_first middle_second middle_tip
      ring_base ring_first ring_second ring_tip
      pinky_base pinky_first pinky_second pinky_tip""",
      "1 1 0 2 3 4  1 6 7 8  1 10 11 12  1 14 15 16  1 18 19 20",
      parts=(
        (0, 1),
        (2, 3, 4, 5),
        (6, 7, 8, 9),
        (10, 11, 12, 13),
        (14, 15, 16, 17),
        (18, 19, 20, 21),
      ),
      center=1,
      vertical=(0, 1),
    ),
  )
}


# Layouts with another graph than the one of their data: of use as `ModelConfig.graph` only.
_GRAPHS = {
  # NTU RGB+D's joints as PYSKL (Duan et al. 2022) links them: hand tips and thumbs to the hands.
  "ntu_rgbd_pyskl": dataclasses.replace(
    _SKELETONS["ntu_rgbd"],
    name="ntu_rgbd_pyskl",
    inward=tuple(
      (child, {21: 7, 22: 7, 23: 11, 24: 11}.get(child, parent))
      for child, parent in _SKELETONS["ntu_rgbd"].inward
    ),
    part_edges=(),
  ),
}


def names() -> tuple[str, ...]:
  """Names of the built-in layouts."""
  return tuple(_SKELETONS)


def get(name: str) -> Skeleton:
  """A built-in layout by name.

      skeleton = mst.skeletons.get("ntu_rgbd")
      skeleton.joints[skeleton.center], skeleton.num_joints  # ('spine_mid', 25)

  Raises:
    ConfigError: there is none of that name.
  """
  known = _SKELETONS | _GRAPHS
  if name not in known:
    raise ConfigError(
      f"skeleton: {name!r} is unknown; known: {', '.join(names())}, or the path of a .json file"
    )
  return known[name]


def load(path: str | pathlib.Path) -> Skeleton:
  """A user's own layout from JSON: the fields of `Skeleton`, joints by name or by index.

  Example:
    {"name": "arm", "joints": ["shoulder", "elbow", "wrist"],
     "inward": [["elbow", "shoulder"], ["wrist", "elbow"]], "center": "shoulder"}
  """
  try:
    values = json.loads(pathlib.Path(path).read_text(encoding="utf-8-sig"))
    if isinstance(values, dict):
      return Skeleton.from_dict(values)
  except OSError as error:
    raise ConfigError(f"skeleton: {path} could not be read: {error.strerror}") from error
  except RecursionError as error:
    raise ConfigError(f"skeleton: {path} is nested too deeply") from error
  except ConfigError as error:
    raise ConfigError(f"{path}: {error}") from error
  except ValueError as error:
    raise ConfigError(f"skeleton: {path} is not JSON: {error}") from error
  raise ConfigError(f"skeleton: {path} holds a {type(values).__name__}, not an object of fields")


def resolve(value: "str | Mapping | Skeleton | pathlib.Path") -> Skeleton:
  """A skeleton from whatever stands in a config: a name, a .json path, fields, or a Skeleton."""
  if isinstance(value, Skeleton):
    return value
  if isinstance(value, (str, pathlib.Path)):
    return load(value) if str(value).endswith(".json") else get(str(value))
  if hasattr(value, "items"):
    return Skeleton.from_dict(dict(value.items()))
  raise ConfigError(
    f"skeleton: {value!r} is neither a name, a .json path, a mapping nor a Skeleton"
  )


def without_unscored(joints: np.ndarray) -> np.ndarray:
  """Joints [..., (x, y, score)], those of score 0 at 0 in all channels: not tracked."""
  return joints * (joints[..., 2:] > 0)


def tracked(clips: Any, center: int | None = None) -> Any:
  """Which joints are tracked: those of which any channel is not 0.

  The first person's joint that clips are centred on lies at 0 by that; it counts as tracked
  wherever another joint of that person is.

  Args:
    clips: [..., person, frame, joint, channel], of NumPy or JAX.
    center: the joint at 0; None where there is none.
  Returns:
    bool [..., person, frame, joint].
  """
  seen = (clips != 0).any(-1)
  if center is None:
    return seen
  persons, _, joints = seen.shape[-3:]
  at_zero = (np.arange(persons) == 0)[:, None, None] & (np.arange(joints) == center)
  return seen | (at_zero & seen.any(-1, keepdims=True))
