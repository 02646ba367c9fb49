"""OpenPose's `--write_json`: one VIDEO_000000000012_keypoints.json per frame (Cao et al. 2019).

{"people": [{"pose_keypoints_2d": [x, y, score, …], "hand_left_keypoints_2d": […], …}]}: 25 joints
(BODY_25), 18 (COCO) or 15 (MPI). Version 1.0 calls it "pose_keypoints". AlphaPose's `--format open`
writes the same, its `--format cmu` {"bodies": [{"joints": […]}]}.
"""

import pathlib
from typing import Any

from data_prep.decode import people
from data_prep.decode.people import Person

_BODY = ("pose_keypoints_2d", "pose_keypoints", "joints")
_HANDS = ("hand_left_keypoints_2d", "hand_right_keypoints_2d")


def recognise(content: Any) -> bool:
  """Whether this is a frame of OpenPose's."""
  return isinstance(content, dict) and isinstance(_found(content), list)


def decode(path: pathlib.Path, *, hands: bool = False) -> list[Person]:
  """The people of a frame; with `hands` each of their hands, the left one numbered 0."""
  content = people.load_json(path)
  with people.taken_for(path, "a frame of OpenPose's"):
    return frame(content, hands=hands)


def frame(content: Any, *, hands: bool = False) -> list[Person]:
  """As `decode`, of what the file holds."""
  found = []
  for one in _found(content):
    if hands:
      for side, field in enumerate(_HANDS):
        if one.get(field):
          found.append(people.person(*people.triples(one[field]), side))
    else:
      points = next((one[field] for field in _BODY if one.get(field)), None)
      if points is not None:
        found.append(people.person(*people.triples(points), _number(one)))
  return people.tracked(found)


def _found(content: dict[str, Any]) -> Any:
  return content["people"] if "people" in content else content.get("bodies")


def _number(one: dict[str, Any]) -> int | None:
  """The person's number where OpenPose follows people; it writes [-1] otherwise."""
  number = one.get("person_id", [-1])
  number = number[0] if isinstance(number, list) and number else number
  return number if isinstance(number, int) and number >= 0 else None
