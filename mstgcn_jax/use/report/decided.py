"""What decided the clips that a report draws: joints and frames, by gradient × input."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from mstgcn_jax.data.data_set import DataSet
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.evaluation import fusion
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import explain
from mstgcn_jax.use.classifier import of_streams


def of_clips(
  workdir: pathlib.Path,
  data_set: DataSet,
  rows: Sequence[int],
  targets: Sequence[int],
  *,
  step: int,
  trust: bool = False,
) -> list[np.ndarray]:
  """How much each class owes to each joint of a clip, float [person, frame, joint], 0 to 1.

  The frames are the recording's; those that the network did not see have 0. Of a run of several
  streams it is the fused score that is explained.

  Args:
    rows: of the clips.
    targets: a class for each, which the network said.
    step: of the checkpoint.
  Raises:
    ConfigError, DataError: the checkpoint is gone, or the data set is of other joints.
  """
  streams = workdir_lib.read(workdir).streams
  networks = list(of_streams(workdir, streams, checkpoint=step, trust=trust).values())
  shares = fusion.stream_weights(streams)
  found = []
  for row, target in zip(rows, targets, strict=True):
    clip = explain.middle_view(networks[0].from_data_set(data_set, row))
    importance = explain.fused_gradient_times_input(networks, shares, clip, target)
    sampling = dataclasses.replace(networks[0].sampling, fill=data_set.fill)
    on_frames = in_recording(importance, data_set.read([row])[0], sampling)
    positive = np.maximum(on_frames, 0)
    found.append(positive / max(float(positive.max()), 1e-12))
  return found


def in_recording(
  importance: np.ndarray, persons: Sequence[np.ndarray], sampling: Sampling
) -> np.ndarray:
  """Importance [person, frame, joint] of a window as that of the recording which it shows.

  A frame that is shown twice owes the sum; one between two that are shown gets what lies between
  their values; frames before and after what is shown, and people beyond the window's, get 0.

  Args:
    persons: [frame, joint, channel] each.
  """
  # The window of a recording whose only coordinate is the frame's number, from 1, tells which frame
  # is where.
  numbers = [
    (np.arange(1, len(person) + 1) * person.any((1, 2))).reshape(-1, 1, 1).astype(np.float32)
    for person in persons
  ]
  plain = dataclasses.replace(sampling, center=None, bone_parents=None)
  shown = explain.middle_view(plain.windows(numbers))[..., 0, 0].astype(int) - 1
  out = np.zeros((len(persons), max(map(len, persons)), importance.shape[-1]))
  for person, places, values in zip(out, shown, importance, strict=False):
    np.add.at(person, places[places >= 0], values[places >= 0])
    seen = np.unique(places[places >= 0])
    if len(seen):
      between = np.arange(seen[0], seen[-1] + 1)
      for joint in range(person.shape[1]):
        person[between, joint] = np.interp(between, seen, person[seen, joint])
  return out
