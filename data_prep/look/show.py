"""Draw a clip of a prepared data set."""

import argparse
import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import layouts
from data_prep.look import video
from mstgcn_jax import skeletons
from mstgcn_jax.data import facing
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
_TURNS = np.radians([28, -28, 62, -62])  # of the camera from straight ahead, the favourite first
_TILT = np.radians(12)
_UPPER = ("head", "nose", "neck", "shoulder")
_LOWER = ("hip", "knee", "ankle", "foot", "base")


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
  scene = _Scene(clip, skeletons.tracked(clip, at_zero), skeleton, coordinates, weights)
  count = clip.shape[1]
  if moments is None:
    stride = -(-count // _MAX_FRAMES)
    pages = []
    for t in range(0, count, stride):
      picture, label = scene.draw(t, 440, 400), f"frame {t + 1} of {count}"
      pages.append(_page([picture], [label], title(t), line, scene, t / count))
    return pages, stride
  times = np.unique(np.linspace(0, count - 1, moments).round().astype(int)).tolist()
  pictures = [scene.draw(t, 250, 320) for t in times]
  labels = [f"frame {t + 1}" for t in times]
  titles = " → ".join(dict.fromkeys(title(t) for t in times))
  return [_page(pictures, labels, titles, f"{line}   {count} frames", scene)], 1


def padded(persons: Sequence[np.ndarray]) -> np.ndarray:
  """[person, frame, joint, channel]; a person that ends early is untracked from there."""
  clip = np.zeros((len(persons), max(map(len, persons)), *persons[0].shape[1:]), np.float32)
  for row, person in zip(clip, persons, strict=True):
    row[: len(person)] = person
  return clip


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
    _write_pictures(pictures, path, stride)
  except OSError as error:
    why = error.strerror or error
    if isinstance(error, FileExistsError):  # of mkdir
      why = f"{error.filename} is a file; a folder is needed there"
    raise DataError(f"{path} cannot be written: {why}") from error


def _write_pictures(pictures: Sequence[Any], path: pathlib.Path, stride: int) -> None:
  if path.suffix.lower() == ".png":
    pictures[0].save(path, optimize=True)
    return
  if path.suffix.lower() == ".mp4":
    video.write(pictures, path, stride * _FRAME_MS)
    return
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
  first.save(path, save_all=True, append_images=rest, duration=duration, loop=0)


# --- the picture


def _page(
  pictures: Sequence[Any],
  labels: Sequence[str],
  title: str,
  line: str,
  scene: "_Scene",
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
  for number in reversed(range(len(scene.clip)) if len(scene.clip) > 1 else ()):
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


@dataclasses.dataclass
class _Scene:
  """A clip in front of a camera that stands still: [person, frame, joint, channel].

  `seen` [person, frame, joint] says which joints are tracked, `coordinates` what the channels are
  (`DataSet.coordinates`; what it does not say is seen from the clip), `weights` how much each joint
  is stressed.
  """

  clip: np.ndarray
  seen: np.ndarray
  skeleton: Skeleton
  coordinates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  weights: np.ndarray | None = None

  def __post_init__(self):
    self.points, self.flat = upright(self.clip, self.seen, self.skeleton, self.coordinates)
    self.floor, self.shadow = np.zeros((0, 2, 2)), None
    if not self.flat:
      self._stand_in_a_room()
    visible = self.points[self.seen][:, :2]
    low, high = np.percentile(visible, [0.3, 99.7], axis=0)  # a joint gone astray is cut off
    if self.shadow is not None:
      ground = self.shadow[self.seen][:, :2]
      low = np.minimum(low, np.percentile(ground, 2, axis=0))
    self.middle, self.extent = (low + high) / 2, np.maximum(high - low, 1e-6)

  def _stand_in_a_room(self) -> None:
    """Camera coordinates (right, up, towards the camera) of joints, of shadows and of a floor."""
    room = self.points
    camera = _camera(_turn(room, self.seen))
    ground = np.percentile(room[self.seen][:, 1], 1)
    flat = np.array(room)
    flat[..., 1] = ground
    self.points, self.shadow = room @ camera, flat @ camera
    low, high = np.percentile(flat[self.seen][:, [0, 2]], [1, 99], axis=0)
    size = float(np.max(np.ptp(room[self.seen], axis=0)))
    step = _round_step(size / 5)
    low, high = np.floor(low / step - 0.8), np.ceil(high / step + 0.8)
    xs, zs = (np.arange(a, b + 1) * step for a, b in zip(low, high, strict=True))
    lines = [((x, zs[0]), (x, zs[-1])) for x in xs] + [((xs[0], z), (xs[-1], z)) for z in zs]
    corners = np.array([[(x, ground, z) for x, z in line] for line in lines])
    self.floor = (corners @ camera)[..., :2]

  def draw(self, frame: int, width: int, height: int) -> Any:
    """One frame as a picture."""
    from PIL import Image, ImageDraw

    width, height = width * _SAMPLES, height * _SAMPLES
    scale = min(0.82 * width / self.extent[0], 0.86 * height / self.extent[1])

    def place(points: np.ndarray) -> np.ndarray:
      return (points[..., :2] - self.middle) * (scale, -scale) + (width / 2, height / 2)

    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    for line in place(self.floor):
      pen.line([tuple(point) for point in line.tolist()], _GRID, _SAMPLES)
    thick = max(2.0, 0.014 * min(width, height))
    if self.shadow is not None:
      for person, seen in enumerate(self.seen[:, frame]):
        for child, parent in self._bones(seen):
          _bone(pen, place(self.shadow[person, frame, [child, parent]]), _SHADOW, thick)
    # What is farther away is drawn first.
    strokes = []
    for person, seen in enumerate(self.seen[:, frame]):
      places, depth = place(self.points[person, frame]), self.points[person, frame, :, 2]
      for child, parent in self._bones(seen):
        color = self._color(person, child)
        color = color if self.weights is None else _pale(color)
        strokes.append((depth[[child, parent]].mean(), places[[child, parent]], color))
      for joint in np.flatnonzero(seen).tolist():
        how = self._color(person, joint), self._radius(joint, thick)
        if self.weights is not None:
          how = _stressed(float(self.weights[person, frame, joint]), thick)
        strokes.append((depth[joint] + 1e-3, places[joint], how))
    for _, at, how in sorted(strokes, key=lambda stroke: stroke[0]):
      if at.ndim == 2:
        _bone(pen, at, how, thick)
      else:
        _dot(pen, at, *how)
    return picture.resize((width // _SAMPLES, height // _SAMPLES), Image.Resampling.LANCZOS)

  def _bones(self, seen: np.ndarray) -> list[tuple[int, int]]:
    return [(child, parent) for child, parent in self.skeleton.inward if seen[child] & seen[parent]]

  def _radius(self, joint: int, thick: float) -> float:
    return (2.2 if self.skeleton.joints[joint] == "head" else 0.8) * thick

  def _color(self, person: int, joint: int) -> tuple[int, ...]:
    """The person's colour, darker on the right side of the body."""
    color = np.array(COLORS[person % len(COLORS)])
    right = joint in {right for _, right in self.skeleton.mirror}
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


def _round_step(size: float) -> float:
  """1, 2 or 5 times a power of ten, near `size`."""
  power = 10.0 ** np.floor(np.log10(max(size, 1e-9)))
  return power * min((1, 2, 5, 10), key=lambda digit: abs(digit - size / power))


def upright(
  clip: np.ndarray, seen: np.ndarray, skeleton: Skeleton, coordinates: Mapping[str, Any]
) -> tuple[np.ndarray, bool]:
  """Joints as somebody in front of the first person sees them; and whether they lie in an image.

  Args: as of `_Scene`.
  Returns:
    [person, frame, joint, 3]: x to the right, y up, z towards who looks, 0 in an image.
  """
  channels = coordinates.get("channels")
  flat = "z" not in channels if channels else _is_flat(clip, skeleton)
  if not flat:
    axes = _room(clip, seen, skeleton, coordinates.get("up", ""))
    return clip[..., :3] @ np.stack(axes, axis=1), False
  points = clip[..., :2] * _aspect(clip, coordinates)
  if coordinates.get("up") == "-y":
    points = points * [1, -1]
  return np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1), True


def _is_flat(clip: np.ndarray, skeleton: Skeleton) -> bool:
  """Whether the joints lie in an image: two coordinates, or a score for the third."""
  if clip.shape[-1] < 3:
    return True
  third = clip[..., 2]
  return skeleton.vertical is None and (not third.any() or layouts.is_score(third))


def _aspect(clip: np.ndarray, coordinates: Mapping[str, Any]) -> np.ndarray:
  """Image fractions are drawn as of their picture, or one 4 wide and 3 high; others as they are."""
  units = coordinates.get("units")
  if units == "image fractions" or (units is None and np.abs(clip[..., :2]).max() <= 1):
    width, height = coordinates.get("picture", (4, 3))
    return np.array([width / height, 1.0])
  return np.ones(2)


def _room(
  clip: np.ndarray, seen: np.ndarray, skeleton: Skeleton, axis: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Unit vectors (right, up, towards the camera), the camera in front of the first person.

  Up is `axis` ('z', '-y', …), or else the coordinate axis along which the upper body is above the
  lower one; in front is where left and right are the sides of somebody who faces the camera at the
  start.
  """
  start = [t for t in range(clip.shape[1]) if seen[0, t].any()][:10] or [0]
  known, count = seen[0, start].any(axis=0), seen[0, start].sum(axis=0)
  points = np.where(seen[0, start, :, None], clip[0, start, :, :3], 0).astype(np.float64)
  joints = points.sum(axis=0) / np.maximum(count, 1)[:, None]
  up = facing.AXES[axis] if axis else _vertical(joints, known, skeleton)
  if up is None:  # nothing says what is up: look onto the plane that the joints fill best
    values = clip[..., :3][seen][:5000].astype(np.float64)
    values -= values.mean(axis=0)
    _, _, axes = np.linalg.svd(values.T @ values)
    return axes[1], axes[0], np.cross(axes[1], axes[0])
  side = np.zeros(3)
  for left, right in skeleton.mirror:
    if known[left] and known[right]:
      side += joints[right] - joints[left]
  side -= (side @ up) * up
  if np.linalg.norm(side) < 1e-6:
    side = np.roll(up, 1)
  left = -side / np.linalg.norm(side)  # who faces us has the right hand on our left
  return left, up, np.cross(left, up)


def _vertical(joints: np.ndarray, known: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
  upper, lower = (
    [i for i in np.flatnonzero(known) if any(word in skeleton.joints[i] for word in words)]
    for words in (_UPPER, _LOWER)
  )
  if skeleton.vertical is not None and known[list(skeleton.vertical)].all():
    lower, upper = ([joint] for joint in skeleton.vertical)
  if not upper or not lower:
    return None
  vector = joints[upper].mean(axis=0) - joints[lower].mean(axis=0)
  axis = int(np.argmax(np.abs(vector)))
  return np.eye(3)[axis] * (1 if vector[axis] >= 0 else -1)


def _turn(room: np.ndarray, seen: np.ndarray) -> float:
  """The camera's turn: the favourite, or for two people one that shows them side by side."""
  places = [room[m][seen[m]].mean(axis=0) for m in range(len(room)) if seen[m].any()]
  if len(places) < 2:
    return _TURNS[0]
  between = places[1] - places[0]
  return max(_TURNS, key=lambda turn: round(abs((between @ _camera(turn))[0]), 6))


def _camera(angle: float) -> np.ndarray:
  """Room to camera coordinates, for row vectors: turned about the vertical, tilted down."""
  turn = np.array(
    [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
  )
  tilt = np.array(
    [[1, 0, 0], [0, np.cos(_TILT), np.sin(_TILT)], [0, -np.sin(_TILT), np.cos(_TILT)]]
  )
  return turn @ tilt
