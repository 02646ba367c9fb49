"""MMPose's and RTMPose's predictions as JSON (OpenMMLab; `pred_out_dir`, `--save-predictions`).

A video is [{"frame_id": 0, "instances": [{"keypoints": [[x, y], …], "keypoint_scores": […]}]}, …],
maybe as "instance_info" beside "meta_info" with the data set's name. A picture is the list of its
instances; a folder of them is read as the frames of one recording. Lifted key points have three
coordinates, z up.
"""

import pathlib
from typing import Any

import numpy as np

from data_prep.decode import people
from data_prep.decode.people import Person, Poses

_LAYOUTS = {"coco": "coco", "h36m": "h36m", "halpe26": "halpe26", "body26": "halpe26"}


def recognise(content: Any) -> str:
  """'mmpose' for a recording, 'mmpose_frames' for a frame, else ''."""
  if isinstance(content, dict) and isinstance(content.get("instance_info"), list):
    return "mmpose"
  first = content[0] if isinstance(content, list) and content else None
  if isinstance(first, dict) and isinstance(first.get("instances"), list):
    return "mmpose"
  if isinstance(first, dict) and "image_id" not in first:
    points = first.get("keypoints")
    if isinstance(points, list) and points and isinstance(points[0], list):
      return "mmpose_frames"
  return ""


def decode(path: pathlib.Path) -> Poses:
  """The people of a video."""
  content = people.load_json(path)
  with people.taken_for(path, "a prediction of MMPose's"):
    name = ""
    if isinstance(content, dict):
      name = str((content.get("meta_info") or {}).get("dataset_name", ""))
      content = content["instance_info"]
    found: dict[int, list[Person]] = {}
    for i, frame in enumerate(content):
      some = people.tracked(map(_person, frame["instances"]))
      found.setdefault(int(frame.get("frame_id", i)), []).extend(some)  # maybe one per person
    frames = people.by_number(found)
    lifted = any(one.points.shape[1] == 3 for frame in frames for one in frame)
    units, up = ("metres", "z") if lifted else ("pixels", "-y")
    return Poses(frames, units, up, layout=_LAYOUTS.get(name.lower().replace("_", ""), ""))


def decode_frame(path: pathlib.Path) -> list[Person]:
  """The people of a picture."""
  content = people.load_json(path)
  with people.taken_for(path, "a prediction of MMPose's"):
    return people.tracked(map(_person, content))


def _person(one: dict[str, Any]) -> Person:
  points = np.array(one["keypoints"], np.float64)
  scores = one.get("keypoint_scores")
  if points.ndim == 3 and len(points) == 1:  # some versions keep the axis of the batch
    points, scores = points[0], None if scores is None else np.array(scores)[0]
  if points.ndim != 2 or points.shape[1] not in (2, 3):
    raise ValueError(f"keypoints of the shape {points.shape}; expected [joint, 2 or 3]")
  number = one.get("track_id")
  return people.person(points, scores, number if isinstance(number, int) else None)
