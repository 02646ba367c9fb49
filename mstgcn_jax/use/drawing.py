"""Pictures of a recording with what a run says of it."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_prep.look import show
from mstgcn_jax.errors import DataError
from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.training import experiment
from mstgcn_jax.use.explain import Explanation
from mstgcn_jax.use.predict import Naming, Prediction
from mstgcn_jax.use.recordings import Recording


def coordinates(workdir: str | pathlib.Path, *, stored: bool) -> Mapping[str, Any]:
  """What the coordinates of a run's clips are, where its data set is found; empty elsewhere.

  Args:
    stored: of clips as data sets store them; else of recordings that do not say it themselves: they
      are as those that the data set was made of, of which nothing is known where it turned them.
  """
  data_set = experiment.data_set_of(workdir)
  if data_set is None or (data_set.rotated and not stored):
    return {}
  return data_set.coordinates


def predictions(
  recording: Recording,
  skeleton: Skeleton,
  found: Sequence[Prediction],
  naming: Naming,
  out: pathlib.Path,
  coordinates: Mapping[str, Any],
) -> None:
  """Draws a recording under its labels: a .gif or .mp4 of all frames, or a .png of some moments.

  DataError where it cannot be written.

  Args:
    coordinates: what the channels are, as `DataSet.coordinates`, where the recording doesn't say.
  """
  persons = [person for person in recording.recorded if person.any()]
  if not persons:
    raise DataError(f"{recording.name}: nobody is tracked, so nothing can be drawn")

  def title(frame: int) -> str:
    here = [p for p in found if p.start <= frame < p.end]
    said = []
    for p in here:
      who = f"person {p.person}: " if p.person else ""
      said.append(f"{who}{naming.label(p.probabilities)} {100 * p.probabilities.max():.0f} %")
    return "   ".join(said) or "–"

  moments = show.MOMENTS if out.suffix.lower() == ".png" else None
  pictures, stride = show.draw_persons(
    persons,
    skeleton,
    title,
    recording.name,
    moments=moments,
    coordinates=recording.coordinates or coordinates,
  )
  show.save(pictures, out, stride)


def explanation(
  found: Explanation,
  skeleton: Skeleton,
  at_zero: int | None,
  title: str,
  out: pathlib.Path,
  coordinates: Mapping[str, Any],
) -> None:
  """Draws, a method below the other, the skeleton and a map of joints and frames, as PNG.

  Only what speaks for the class is shown; the darkest red is the highest of each method.
  DataError where nobody is tracked in the window, or it cannot be written.

  Args:
    at_zero: joint of the first person that lies at 0 although it is tracked.
    coordinates: what the channels are, as `DataSet.coordinates`.
  """
  tracked = [i for i, person in enumerate(found.clip) if person.any()]
  if not tracked:
    raise DataError(f"{title}: nobody is tracked in the window, so nothing can be drawn")
  parts = []
  for name, importance in found.importance.items():
    weights = np.maximum(importance, 0) / max(float(importance.max()), 1e-12)
    (strip,), _ = show.draw_persons(
      [found.clip[i] for i in tracked],
      skeleton,
      lambda _: title,
      f"by {name}",
      at_zero=at_zero if 0 in tracked else None,
      moments=show.MOMENTS,
      weights=weights[tracked],
      coordinates=coordinates,
    )
    parts += [strip, _map(weights[tracked], tracked, skeleton, strip.width)]
  page = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
  top = 0
  for part in parts:
    page.paste(part, (0, top))
    top += part.height
  show.save([page], out, 1)


def _map(
  weights: np.ndarray, persons: Sequence[int], skeleton: Skeleton, width: int
) -> Image.Image:
  """Weights [person, frame, joint] as maps, joints from the top down, frames to the right."""
  from matplotlib.figure import Figure  # here: commands that draw no map start a second sooner

  dpi = 100
  fig = Figure(
    figsize=(width / dpi, 0.6 + 0.15 * skeleton.num_joints), dpi=dpi, layout="constrained"
  )
  axes = fig.subplots(1, len(weights), squeeze=False)[0]
  for ax, person, values in zip(axes, persons, weights, strict=True):
    frames, joints = values.shape
    extent = (0.5, frames + 0.5, joints - 0.5, -0.5)
    ax.imshow(values.T, aspect="auto", cmap="Reds", vmin=0, vmax=1, extent=extent)
    ax.set_yticks(range(joints), skeleton.joints, fontsize=7, parse_math=False)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel(f"frame of the window, person {person + 1}", fontsize=8)
  buffer = io.BytesIO()
  fig.savefig(buffer, format="png")
  return Image.open(buffer).convert("RGB")
