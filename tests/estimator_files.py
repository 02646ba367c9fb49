"""Stick people as files of pose estimators, each in its documented form, for tests."""

import json
import pathlib

import numpy as np
import stick_poses

SIZE = stick_poses.SIZE


def _flat(points: np.ndarray, score: float = 0.9) -> list[float]:
  """x, y, score of every joint in one list; who is at 0 has a score of 0, as OpenPose has it."""
  scores = score * points.any(axis=-1, keepdims=True)
  return np.round(np.concatenate([points, scores], axis=-1), 3).ravel().tolist()


def _write(path: pathlib.Path, content) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))


def seen(layout: str, action: int, seed: int = 0, frames: int = 24) -> np.ndarray:
  """Pixels of stick people in a layout: [person, frame, joint, 2]."""
  return stick_poses.pixels(stick_poses.as_layout(stick_poses.people(action, seed, frames), layout))


def openpose(clip: pathlib.Path, people: np.ndarray, **fields) -> None:
  """A folder of VIDEO_000000000000_keypoints.json."""
  for t, frame in enumerate(people.swapaxes(0, 1)):
    found = [
      {"person_id": [-1], "pose_keypoints_2d": _flat(points), "face_keypoints_2d": [], **fields}
      for points in frame
    ]
    path = clip / f"{clip.name}_{t:012d}_keypoints.json"
    _write(path, {"version": 1.3, "people": found})


def alphapose(clip: pathlib.Path, people: np.ndarray, *, idx: bool = False) -> None:
  """alphapose-results.json in a folder."""
  content = [
    {
      "image_id": f"{t}.jpg",
      "category_id": 1,
      "keypoints": _flat(points),
      "score": 2.9,
      "box": [0.0, 0.0, 100.0, 200.0],
      **({"idx": i + 1} if idx else {}),
    }
    for t, frame in enumerate(people.swapaxes(0, 1))
    for i, points in enumerate(frame)
  ]
  _write(clip / "alphapose-results.json", content)


def coco_results(clip: pathlib.Path, people: np.ndarray) -> None:
  """CLIP.json as COCO's key-point results."""
  content = [
    {"image_id": 100 + t, "category_id": 1, "keypoints": _flat(points), "score": 0.8}
    for t, frame in enumerate(people.swapaxes(0, 1))
    for points in frame
  ]
  _write(clip.with_suffix(".json"), content)


def coco_annotations(clip: pathlib.Path, people: np.ndarray) -> None:
  """CLIP.json as COCO's annotations: images beside them, visibility for a score."""
  frames = range(people.shape[1])
  images = [
    {"id": 7 + t, "file_name": f"img_{t:05d}.png", "width": SIZE[0], "height": SIZE[1]}
    for t in frames
  ]
  annotations = [
    {"id": 10 * t + i, "image_id": 7 + t, "keypoints": _flat(points[t], 2), "num_keypoints": 17}
    for t in frames
    for i, points in enumerate(people)
  ]
  _write(clip.with_suffix(".json"), {"images": images, "annotations": annotations})


def _instance(points: np.ndarray) -> dict:
  return {
    "keypoints": np.round(points, 3).tolist(),
    "keypoint_scores": [0.8] * len(points),
    "bbox": [[0, 0, 100, 200]],
    "bbox_score": 0.9,
  }


def mmpose(clip: pathlib.Path, people: np.ndarray, *, meta: str = "") -> None:
  """CLIP.json of a video as MMPose's inferencer writes it, or its demos with `meta`."""
  content = [
    {"frame_id": t, "instances": [_instance(points) for points in frame]}
    for t, frame in enumerate(people.swapaxes(0, 1))
  ]
  if meta:
    content = {"meta_info": {"dataset_name": meta}, "instance_info": content}
  _write(clip.with_suffix(".json"), content)


def mmpose_frames(clip: pathlib.Path, people: np.ndarray) -> None:
  """A folder with the list of a picture's instances a file."""
  for t, frame in enumerate(people.swapaxes(0, 1)):
    _write(clip / f"{t:06d}.json", [_instance(points) for points in frame])


def ultralytics(clip: pathlib.Path, people: np.ndarray, *, conf: bool = False, number=None) -> None:
  """A folder labels/ of VIDEO_1.txt …, all in shares of the picture."""
  for t, frame in enumerate(people.swapaxes(0, 1), start=1):
    lines = []
    for i, points in enumerate(frame):
      rest = [0.87] * conf + ([] if number is None else [i + number])
      numbers = [0, 0.5, 0.5, 0.2, 0.6, *_flat(points / SIZE), *rest]
      lines.append(" ".join(f"{value:g}" for value in numbers))
    _write(clip / "labels" / f"{clip.name}_{t}.txt", "\n".join(lines) + "\n")


def _landmarks(points: np.ndarray) -> list[dict]:
  return [{"x": x, "y": y, "z": z, "visibility": 0.9} for x, y, z in np.round(points, 5).tolist()]


def mediapipe_json(clip: pathlib.Path, people: np.ndarray) -> None:
  """CLIP.json with the landmarks of every frame, in the picture and in the world."""
  bodies = stick_poses.as_layout(people, "mediapipe")
  picture = np.concatenate([stick_poses.pixels(bodies) / SIZE, -bodies[..., 2:]], axis=-1)
  around = (bodies - bodies[..., 23:25, :].mean(axis=-2, keepdims=True)) * [1, -1, -1]
  content = [
    {
      "frame": t,
      "landmarks": [_landmarks(points) for points in picture[:, t]],
      "worldLandmarks": [_landmarks(points) for points in around[:, t]],
    }
    for t in range(people.shape[1])
  ]
  _write(clip.with_suffix(".json"), content)


def mediapipe_csv(clip: pathlib.Path, points: np.ndarray, *, long: bool = False) -> None:
  """CLIP.csv of one person's [frame, landmark, 3]: one row per frame, or per landmark."""
  if long:
    rows = ["frame,landmark,x,y,z,visibility"]
    rows += [
      f"{t},{i},{x:.5f},{y:.5f},{z:.5f},0.9"
      for t, frame in enumerate(points)
      for i, (x, y, z) in enumerate(frame)
    ]
  else:
    names = [f"{axis}{i}" for i in range(points.shape[1]) for axis in "xyzv"]
    rows = [",".join(["frame", *names])]
    for t, frame in enumerate(points):
      cells = [f"{value:.5f}" for point in frame for value in (*point, 0.9)]
      rows.append(",".join([str(t), *cells]))
  _write(clip.with_suffix(".csv"), "\n".join(rows))
