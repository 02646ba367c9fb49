"""Draw a clip of a prepared data set."""

import argparse
import difflib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.look import video
from data_prep.look.scene import Scene, padded
from mstgcn_jax import files, skeletons
from mstgcn_jax.data.data_set import DataSet, open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.skeletons import Skeleton

COLORS = ((37, 99, 235), (234, 88, 12), (5, 150, 105), (147, 51, 234))
_INK, _FAINT, _GRID, _SHADOW = (31, 41, 55), (107, 114, 128), (229, 231, 235), (209, 213, 219)
_STRESS = (220, 38, 38)
_MAX_FRAMES = 150  # of a GIF; longer clips are drawn every second, third, … frame
_FRAME_MS = 33  # most cameras give 30 frames per second
MOMENTS = 6  # of a PNG strip
_SAMPLES = 2  # pixels drawn per pixel of the picture, both ways


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """DATA_SET, --clip or --label, --out."""
  parser.add_argument("data_set", type=pathlib.Path, metavar="DATA_SET", help="such as data/ntu60")
  which = parser.add_mutually_exclusive_group()
  which.add_argument("--clip", metavar="NAME", help="the clip of this name (default: the first)")
  which.add_argument("--label", metavar="N", help="the first clip of this class (number or name)")
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    default=pathlib.Path("clip.gif"),
    metavar="FILE",
    help="a .gif or .mp4 that moves or a .png strip of moments (default clip.gif)",
  )


def run(args: argparse.Namespace) -> None:
  """Draws the clip into args.out."""
  check_ending("--out", args.out)
  data = open_data_set(args.data_set)
  index = find(data, args.clip, args.label)
  moments = MOMENTS if args.out.suffix.lower() == ".png" else None
  pictures, stride = draw(data, index, moments)
  save(pictures, args.out, stride)
  print(f"{data.table['name'][index]}: {_class_name(data, index)}: {args.out}")


def check_ending(flag: str, path: pathlib.Path) -> None:
  """ConfigError where no picture of this ending can be written."""
  ending = path.suffix.lower()
  if ending not in (".gif", ".png", ".mp4"):
    raise ConfigError(f"{flag} {path} must end in .gif, .png or .mp4")
  if ending == ".mp4":
    video.ffmpeg()


def find(data: DataSet, clip: str | None, label: str | None) -> int:
  """Row of the clip table: by the clip's name, else the first of the class, else the first."""
  if clip is not None:
    rows, wanted = np.flatnonzero(data.table["name"] == clip), f"clip {clip!r}"
    known: Sequence[str] = data.table["name"].tolist()
  elif label is not None:
    number = int(label) if label.isdecimal() else -1
    if label in data.class_names:
      number = data.class_names.index(label)
    rows, wanted = np.flatnonzero(data.table["label"] == number), f"label {label!r}"
    known = [str(data.class_names[i]) for i in np.unique(data.table["label"])]
  else:
    rows, wanted, known = np.arange(len(data))[:1], "a first clip", []
  if len(rows):
    return int(rows[0])
  near = difflib.get_close_matches(clip or label or "", known, n=3, cutoff=0.4) or known[:3]
  raise ConfigError(f"{data.path} has no {wanted}; it has, for instance, {', '.join(near)}")


def draw(data: DataSet, index: int, moments: int | None = None) -> tuple[list[Any], int]:
  """The clip as pictures (PIL): every frame, or one strip of some moments.

  Args:
    data: a prepared data set.
    index: row of the clip table.
    moments: frames of the strip; None draws one picture per frame.
  Returns:
    The pictures, and how many frames lie between two: more than one where the clip is long.
  """
  (persons,) = data.read([index])
  title = _class_name(data, index)
  return draw_persons(
    persons,
    data.skeleton,
    lambda frame: title,
    _facts(data, index),
    moments=moments,
    coordinates=data.coordinates,
    at_zero=data.stored_joint_at_zero,
  )


def draw_persons(
  persons: Sequence[np.ndarray],
  skeleton: Skeleton,
  title: Callable[[int], str],
  line: str,
  *,
  moments: int | None,
  coordinates: Mapping[str, Any],
  at_zero: int | None = None,
  weights: np.ndarray | None = None,
) -> tuple[list[Any], int]:
  """As `draw`, of a clip of no data set.

  Args:
    persons: [frame, joint, channel] each; somebody is tracked.
    title: of a frame (from 0); a strip has those of its moments.
    line: below the title.
    coordinates: what the channels are, as `DataSet.coordinates`.
    at_zero: joint of the first person that lies at 0 although it is tracked.
    weights: [person, frame, joint] from 0 to 1: joints are drawn the larger and redder, bones pale.
  """
  clip = padded(persons)
  scene = Scene(clip, skeletons.tracked(clip, at_zero), skeleton, coordinates)
  count = clip.shape[1]
  if moments is None:
    stride = -(-count // _MAX_FRAMES)
    pages = []
    for t in range(0, count, stride):
      picture, label = _draw(scene, t, 440, 400, weights), f"frame {t + 1} of {count}"
      pages.append(_page([picture], [label], title(t), line, len(clip), t / count))
    return pages, stride
  times = np.unique(np.linspace(0, count - 1, moments).round().astype(int)).tolist()
  pictures = [_draw(scene, t, 250, 320, weights) for t in times]
  labels = [f"frame {t + 1}" for t in times]
  titles = " → ".join(dict.fromkeys(title(t) for t in times))
  return [_page(pictures, labels, titles, f"{line}   {count} frames", len(clip))], 1


def _class_name(data: DataSet, index: int) -> str:
  return data.class_names[data.table["label"][index]]


def _facts(data: DataSet, index: int) -> str:
  facts = [
    f"{name} {values[index]}"
    for name, values in data.table.items()
    if name in ("subject", "camera", "setup")
  ]
  return "   ".join([str(data.table["name"][index]), *facts])


def save(pictures: Sequence[Any], path: pathlib.Path, stride: int) -> None:
  """Writes what `draw` gave, and the folder for it, as the ending says; DataError if it cannot."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".mp4":
      video.write(pictures, path, stride * _FRAME_MS)
      return
    with files.written_whole(path) as aside:
      if path.suffix.lower() == ".png":
        pictures[0].save(aside, "PNG", optimize=True)
      else:
        _write_gif(pictures, aside, stride)
  except OSError as error:
    why = error.strerror or error
    if isinstance(error, FileExistsError):  # of mkdir
      why = f"{error.filename} is a file; a folder is needed there"
    raise DataError(f"{path} cannot be written: {why}") from error


def _write_gif(pictures: Sequence[Any], path: pathlib.Path, stride: int) -> None:
  from PIL import Image

  # One palette for all frames, or their colours flicker; from some of them, side by side.
  some = pictures[:: max(1, len(pictures) // 8)]
  width, height = some[0].size
  sheet = Image.new("RGB", (width, height * len(some)))
  for i, picture in enumerate(some):
    sheet.paste(picture, (0, i * height))
  palette = sheet.quantize(96)
  colors = np.array(palette.getpalette()).reshape(-1, 3)
  colors[colors.min(axis=1) > 245] = 255  # the background, which quantising dims a little
  palette.putpalette(colors.ravel().tolist())
  first, *rest = [picture.quantize(palette=palette, dither=0) for picture in pictures]
  # A GIF counts in hundredths of a second: round when a picture starts, not how long it lasts.
  starts = np.round(np.arange(len(pictures) + 1) * stride * _FRAME_MS, -1)
  duration = np.diff(starts).tolist()
  first.save(path, "GIF", save_all=True, append_images=rest, duration=duration, loop=0)


# --- the picture


def _page(
  pictures: Sequence[Any],
  labels: Sequence[str],
  title: str,
  line: str,
  persons: int,
  progress: float | None = None,
) -> Any:
  """Pictures side by side under a title, with their labels, the persons' colours and a bar."""
  from PIL import Image, ImageDraw

  width, height = pictures[0].size
  page = Image.new("RGB", (width * len(pictures), height + 62), "white")
  pen = ImageDraw.Draw(page)
  _write(pen, (16, 10), title, 20, _INK, page.width - 32, bold=True)
  _write(pen, (16, 38), line, 12, _FAINT, page.width - 32)
  for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
    page.paste(picture, (i * width, 62))
    pen.text((i * width + 16, height + 40), label, _FAINT, _font(12))
  x = page.width - 16
  for number in reversed(range(persons) if persons > 1 else ()):
    text = f"person {number + 1}"
    x -= round(pen.textlength(text, _font(12)))
    pen.text((x, height + 40), text, _FAINT, _font(12))
    pen.ellipse((x - 14, height + 43, x - 5, height + 52), COLORS[number % len(COLORS)])
    x -= 28
  if progress is not None:
    pen.rectangle((0, page.height - 3, page.width, page.height), _GRID)
    pen.rectangle((0, page.height - 3, round(progress * page.width), page.height), COLORS[0])
  return page


def _write(
  pen: Any, at: tuple[int, int], text: str, size: int, color: Any, width: int, bold: bool = False
) -> None:
  """Text on one line; what does not fit is cut off with an ellipsis."""
  font = _font(size, bold)
  while text and pen.textlength(text, font) > width:
    text = text.removesuffix("…")[:-1].rstrip() + "…"
  pen.text(at, text, color, font)


def _font(size: int, bold: bool = False) -> Any:
  """DejaVu Sans, which comes with matplotlib and has most alphabets."""
  import matplotlib
  from PIL import ImageFont

  name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
  return ImageFont.truetype(str(pathlib.Path(matplotlib.get_data_path(), "fonts/ttf", name)), size)


def _draw(
  scene: Scene, frame: int, width: int, height: int, weights: np.ndarray | None = None
) -> Any:
  """One frame as a picture."""
  from PIL import Image, ImageDraw

  width, height = width * _SAMPLES, height * _SAMPLES
  scale = min(0.82 * width / scene.extent[0], 0.86 * height / scene.extent[1])

  def place(points: np.ndarray) -> np.ndarray:
    return (points[..., :2] - scene.middle) * (scale, -scale) + (width / 2, height / 2)

  picture = Image.new("RGB", (width, height), "white")
  pen = ImageDraw.Draw(picture)
  for line in place(scene.floor):
    pen.line([tuple(point) for point in line.tolist()], _GRID, _SAMPLES)
  thick = max(2.0, 0.014 * min(width, height))
  bones = [
    (person, [child, parent])
    for person, seen in enumerate(scene.seen[:, frame])
    for child, parent in scene.skeleton.inward
    if seen[child] & seen[parent]
  ]
  if scene.shadow is not None:
    for person, ends in bones:
      _bone(pen, place(scene.shadow[person, frame, ends]), _SHADOW, thick)
  # What is farther away is drawn first.
  points = scene.points[:, frame]
  places, depth, strokes = place(points), points[..., 2], []
  for person, ends in bones:
    color = _color(scene.skeleton, person, ends[0])
    color = color if weights is None else _pale(color)
    strokes.append((depth[person, ends].mean(), places[person, ends], color))
  for person, joint in np.argwhere(scene.seen[:, frame]).tolist():
    if weights is None:
      radius = (2.2 if scene.skeleton.joints[joint] == "head" else 0.8) * thick
      how = _color(scene.skeleton, person, joint), radius
    else:
      how = _stressed(float(weights[person, frame, joint]), thick)
    strokes.append((depth[person, joint] + 1e-3, places[person, joint], how))
  for _, at, how in sorted(strokes, key=lambda stroke: stroke[0]):
    if at.ndim == 2:
      _bone(pen, at, how, thick)
    else:
      _dot(pen, at, *how)
  return picture.resize((width // _SAMPLES, height // _SAMPLES), Image.Resampling.LANCZOS)


def _color(skeleton: Skeleton, person: int, joint: int) -> tuple[int, ...]:
  """The person's colour, darker on the right side of the body."""
  color = np.array(COLORS[person % len(COLORS)])
  right = joint in {right for _, right in skeleton.mirror}
  return tuple((color * (0.62 if right else 1)).astype(int).tolist())


def _pale(color: tuple[int, ...]) -> tuple[int, ...]:
  return tuple((np.array(color) // 3 + 170).tolist())


def _stressed(weight: float, thick: float) -> tuple[tuple[int, ...], float]:
  """Colour, from grey to red, and radius of a joint of this weight, 0 to 1."""
  mixed = np.array(_FAINT) * (1 - weight) + np.array(_STRESS) * weight
  return tuple(mixed.astype(int).tolist()), (0.6 + 2.4 * weight) * thick


def _bone(pen: Any, ends: np.ndarray, color: Any, thick: float) -> None:
  pen.line([tuple(end) for end in ends.tolist()], color, round(thick))
  for end in ends:  # round ends
    _dot(pen, end, color, thick / 2)


def _dot(pen: Any, at: np.ndarray, color: Any, radius: float) -> None:
  x, y = at.tolist()
  pen.ellipse((x - radius, y - radius, x + radius, y + radius), color)
