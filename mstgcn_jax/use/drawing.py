"""Pictures of a recording with what a run says of it."""

import pathlib
from collections.abc import Sequence

from data_prep.look import show
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.use.predict import Naming, Prediction
from mstgcn_jax.use.recordings import Recording

_MOMENTS = 6  # of a PNG strip


def check_ending(flag: str, path: pathlib.Path) -> None:
  """ConfigError where no picture of this ending can be written."""
  ending = path.suffix.lower()
  if ending == ".mp4":
    raise ConfigError(
      f"{flag} {path}: no video encoder is among the packages that this project needs; take .gif, "
      "which ffmpeg -i out.gif out.mp4 turns into a video"
    )
  if ending not in (".gif", ".png"):
    raise ConfigError(f"{flag} {path} must end in .gif or .png")


def predictions(
  recording: Recording,
  skeleton: Skeleton,
  found: Sequence[Prediction],
  naming: Naming,
  out: pathlib.Path,
) -> None:
  """Draws a recording under its labels: a .gif of all frames, or a .png of some moments.

  DataError where it cannot be written.
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

  moments = _MOMENTS if out.suffix.lower() == ".png" else None
  pictures, stride = show.draw_persons(
    persons,
    skeleton,
    title,
    recording.name,
    moments=moments,
  )
  show.save(pictures, out, stride)
