"""Key points by picture, one file per recording: COCO's results and annotations, and AlphaPose's.

COCO: [{"image_id": 12, "keypoints": [x, y, score, …], "score": …}, …], or {"images": [{"id",
"file_name", "width", "height"}], "annotations": [{"image_id", "keypoints": [x, y, visibility, …]}]}
(Lin et al. 2014). AlphaPose (Fang et al. 2022) writes the first form with the picture's file name
for `image_id` and, where it follows people, `idx`; its formats `open` and `cmu` are one object
{"12.jpg": {"people" or "bodies": …}} in the form of OpenPose.
"""

import math
import pathlib
from typing import Any

from data_prep.decode import openpose, people
from data_prep.decode.people import Frames, Person, Poses
from mstgcn_jax.errors import DataError

_SIDES = ("width", "height")


def recognise(content: Any) -> str:
  """'alphapose' or 'coco' where this is a recording of theirs, else ''."""
  if isinstance(content, dict) and isinstance(content.get("annotations"), list):
    return "coco" if "images" in content else ""
  if isinstance(content, dict):
    frames = list(content.values())[:5]
    return "alphapose" if frames and all(map(openpose.recognise, frames)) else ""
  first = content[0] if isinstance(content, list) and content else None
  if not isinstance(first, dict) or not {"image_id", "keypoints"} <= first.keys():
    return ""
  of_alphapose = isinstance(first["image_id"], str) or "idx" in first
  return "alphapose" if of_alphapose else "coco"


def decode(path: pathlib.Path) -> Poses:
  """The people of all pictures, in the order of the pictures' numbers, or else names."""
  content = people.load_json(path)
  with people.taken_for(path, "a list of key points by picture"):
    if isinstance(content, dict) and "annotations" in content:
      return _annotated(content, path)
    if isinstance(content, dict):
      found = {name: openpose.frame(one) for name, one in content.items()}
    else:
      found = {}
      for one in content:
        found.setdefault(one["image_id"], []).append(_person(one))
    return Poses(_in_order(found))


def _annotated(content: dict[str, Any], path: pathlib.Path) -> Poses:
  images = {image["id"]: image for image in content["images"]}
  found: dict[str, list[Person]] = {str(images[key].get("file_name", key)): [] for key in images}
  for one in content["annotations"]:
    if not one.get("keypoints"):  # a mere box
      continue
    points, visible = people.triples(one["keypoints"])
    image = images[one["image_id"]]
    person = people.person(points, visible.clip(0, 2) / 2, _number(one))
    found[str(image.get("file_name", image["id"]))].append(person)
  sizes = {tuple(_side(image, side, path) for side in _SIDES) for image in images.values()}
  (size,) = sizes if len(sizes) == 1 else ((0, 0),)
  return Poses(_in_order(found), picture=size if all(size) else None)


def _side(image: dict[str, Any], side: str, path: pathlib.Path) -> float:
  """A picture's width or height in pixels; 0 where the file does not say."""
  value = image.get(side)
  if value is None:
    return 0
  if type(value) not in (int, float) or not 0 <= value < math.inf:
    raise DataError(
      f"{path.name}: an image has the {side} {value!r:.40}; expected a number of pixels, "
      "or none, and then --image-size"
    )
  return value


def _person(one: dict[str, Any]) -> Person:
  return people.person(*people.triples(one["keypoints"]), _number(one))


def _number(one: dict[str, Any]) -> int | None:
  """The number under which AlphaPose (`idx`) or a data set (`track_id`) follows a person."""
  number = one.get("idx", one.get("track_id"))
  while isinstance(number, list):  # AlphaPose lists all whom it merged
    number = number[0] if number else None
  return int(number) if isinstance(number, (int, float)) else None


def _in_order(found: dict[Any, list[Person]]) -> Frames:
  """Frames by the numbers at the end of the pictures' names; by name where they have none."""
  found = {key: people.tracked(some) for key, some in found.items()}
  numbers = people.trailing_numbers([str(key) for key in found])
  if numbers is not None:
    return people.by_number(dict(zip(numbers, found.values(), strict=True)))
  return [found[key] for key in sorted(found, key=str)]
