"""Runs an exported network by onnxruntime alone: python onnx_runtime.py quickstart.onnx clip.npy

Needs numpy and onnxruntime, and nothing of mstgcn-jax. The clip is one array [frame, joint,
channel] or [person, frame, joint, channel] of any length, 0 where nothing is tracked, in the layout
and turned as the training data was (docs/export.md says how to get one).
"""

import argparse
import json

import numpy as np
import onnxruntime


def window(persons: np.ndarray, facts: dict) -> np.ndarray:
  """The frames that the network sees, float32 [person, window, joint, channel].

  Args:
    persons: [person, frame, joint, channel], everybody from the same moment on.
    facts: the file's metadata: scored, window, num_persons, sampling, fill, center, origin,
      bone_parents.
  """
  if facts.get("scored"):  # x, y and a score, which is 0 where nothing is tracked
    persons = persons * (persons[..., 2:] > 0)
  cut = lambda person: person[: np.flatnonzero(person.any(axis=(1, 2)))[-1] + 1]
  # Who is never tracked is left out, and everybody has a length of their own.
  people = [cut(person) for person in persons if person.any()][: facts["num_persons"]]
  if not people:
    raise SystemExit("nobody is tracked in the clip")
  kind, size, length = facts["sampling"], facts["window"], max(map(len, people))
  if kind == "random_sorted" or (kind == "uniform" and length >= size):
    # The middle of each of `size` segments.
    times = np.floor((np.arange(size) + 0.5) * length / size).astype(int)
  elif kind in ("uniform", "loop", "random_crop"):
    times = np.arange(size) + max(0, length - size) // 2
  else:
    raise SystemExit(f"sampling {kind!r} is not of this example")
  clip = np.zeros((facts["num_persons"], size, *persons.shape[2:]), np.float32)
  for place, person in zip(clip, people, strict=False):
    within = (times < len(person)) | (facts["fill"] == "loop")
    place[within] = person[times[within] % len(person)]
  return clip if facts["center"] is None else placed(clip, people[0], facts)


def placed(clip: np.ndarray, person: np.ndarray, facts: dict) -> np.ndarray:
  """A window with a joint of the first person at 0, scaled if its run did so.

  Args:
    person: [frame, joint, channel], all of the first person.
  """
  center, parents = facts["center"], facts.get("bone_parents")
  origin, scale = clip[:1, :, center, None], 1  # frame by frame
  if facts.get("origin") == "first_frame":
    origin = person[person.any(axis=(1, 2))][0, center]
  if parents:  # bones, each at its mean length, add up to 3.6
    seen = person.any(-1)
    seen[:, center] = seen.any(1)  # it may lie at 0
    both = seen & seen[:, parents]
    lengths = np.linalg.norm(person - person[:, parents], axis=-1)
    total = (np.sum(lengths * both, 0) / np.maximum(both.sum(0), 1)).sum()
    scale = 3.6 / total if total else 1
  return np.where(clip.any(-1, keepdims=True), (clip - origin) * np.float32(scale), 0)


def read(path: str, joints: int, channels: int) -> np.ndarray:
  """A file's clip, [person, frame, joint, channel]; SystemExit says why there is none."""
  try:
    with open(path, "rb") as file:
      persons = np.lib.format.read_array(file)
  except (OSError, ValueError) as error:
    raise SystemExit(f"{path} is no .npy file that can be read ({error})") from error
  if persons.ndim not in (3, 4) or persons.shape[-2:] != (joints, channels):
    expected = f"([person,] frame, {joints} joints, {channels} channels)"
    raise SystemExit(f"{path} has the shape {persons.shape}; the network takes {expected}")
  if persons.dtype.kind not in "fiu" or not np.isfinite(persons).all():
    raise SystemExit(f"{path} holds other than finite numbers; what is not tracked is 0")
  return (persons if persons.ndim == 4 else persons[None]).astype(np.float32)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("model", help="what `mstgcn export --to onnx` wrote")
  parser.add_argument("clip", help=".npy file")
  args = parser.parse_args()
  try:
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
  except Exception as error:  # onnxruntime's have no class in common
    raise SystemExit(str(error)) from error
  said = session.get_modelmeta().custom_metadata_map
  if "num_persons" not in said:
    raise SystemExit(f"{args.model} was not written by mstgcn export: it lacks the metadata")
  facts = {name: json.loads(value) for name, value in said.items()}
  persons = read(args.clip, *session.get_inputs()[0].shape[-2:])
  (probabilities,) = session.run(None, {"clips": window(persons, facts)[None]})
  for i in np.argsort(-probabilities[0])[:5]:
    print(f"{100 * probabilities[0, i]:6.2f} %  {facts['class_names'][i]}")


if __name__ == "__main__":
  main()
