"""The temporal part of loading: sequences of unequal length to one window.

A clip comes as one array per person, [frames_m, joint, channel], each at its own length. Sampling
first chooses the *times* of the window's frames (the same for everybody the model sees), then which
frame of each person is shown at these times (`select`), then looks these up and centres (`expand`),
where wanted by what the whole clip says (`placement`). In this order the result is the reference's,
which loops each person with its own period before it centres all on person 0.

`expand` is the device's, all else the host's: what travels between them is every frame
once, as it is stored, and the numbers of those that the windows show. `sample` does all of it for
one clip in NumPy.
"""

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError

SAMPLINGS = ("loop", "random_crop", "random_shift", "uniform", "random_sorted")
ORIGINS = ("frame", "first_frame")
BODY_SIZE = 3.6  # what a body's bones add up to: about a grown person's in metres, by 20 joints
EXPANDED = ("frames", "shown", "origin", "factor")  # of a batch: what `expand` takes
UNTRACKED = -1  # the time of a window's frame that shows nobody


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How a clip becomes the windows that a network sees.

  `DataSet.sampling` makes it for a data set.

  Attributes:
    window: frames of the window.
    num_persons: people of the window, the main person first.
    kind: one of `SAMPLINGS`, described at `sample_times`.
    views: windows of each clip in evaluation, whose probabilities are averaged.
    fill: 'loop' or 'zero': what follows a person's last frame.
    center: joint of the first person to be subtracted; None for none.
    origin: where that joint is taken: in each 'frame', so that it never moves, or in the
      'first_frame' of the recording in which the first person is tracked, so that the way they go
      is seen.
    bone_parents: the skeleton's, where clips are scaled so that the first person's bones add up to
      BODY_SIZE; None where the size stays.
  """

  window: int
  num_persons: int
  kind: str = "loop"
  views: int = 1
  fill: str = "loop"
  center: int | None = None
  origin: str = "frame"
  bone_parents: tuple[int, ...] | None = None

  def __post_init__(self):
    check(self.kind, self.views)
    for name in ("window", "num_persons"):
      if getattr(self, name) < 1:
        raise ConfigError(f"{name}={getattr(self, name)}: expected 1 or more")
    if self.origin not in ORIGINS:
      raise ConfigError(f"origin {self.origin!r} is unknown; expected {' or '.join(ORIGINS)}")

  def windows(self, persons: Sequence[np.ndarray]) -> np.ndarray:
    """A clip as the network sees it in evaluation, float32 [person, frame, joint, channel].

    [view, person, frame, joint, channel] where there are several views.

    Args:
      persons: [frame, joint, channel] each, as stored: turned, not centred.
    """
    views = [sample(persons, self, view=k) for k in range(self.views)]
    return views[0] if self.views == 1 else np.stack(views)


def check(sampling: str, views: int = 1) -> None:
  """Raises ConfigError for an unknown sampling, or one that has no several views."""
  if sampling not in SAMPLINGS:
    allowed = ", ".join(SAMPLINGS)
    raise ConfigError(f"sampling {sampling!r} is unknown; expected one of {allowed}")
  if views < 1 or (sampling in ("loop", "random_shift") and views != 1):
    raise ConfigError(
      f"views={views} is not possible with sampling {sampling!r}; "
      "use 1, or 'uniform', 'random_sorted' or 'random_crop' for several"
    )


def loop_times(length: int, window: int) -> np.ndarray:
  """The clip from its start, beyond its end as `select` fills; if longer, its central part."""
  return np.arange(window) + max(0, length - window) // 2


def crop_times(window: int, begin: int) -> np.ndarray:
  """Frames begin, begin + 1, …; a negative `begin` leaves the window's first frames untracked."""
  return np.maximum(np.arange(window) + begin, UNTRACKED)


def shift_times(first: int, last: int, window: int, begin: int) -> np.ndarray:
  """The tracked span first..last-1 moved to start at frame `begin`, untracked around it."""
  times = np.arange(window) - begin + first
  return np.where((times >= first) & (times < last), times, UNTRACKED)


def uniform_times(length: int, window: int, fractions: np.ndarray | float) -> np.ndarray:
  """One frame from each of `window` equal segments of the clip, at a fraction of its segment.

  Args:
    fractions: in [0, 1), one or one a segment.
  """
  return np.floor((np.arange(window) + fractions) * length / window).astype(np.int64)


def sample(
  persons: Sequence[np.ndarray],
  sampling: Sampling,
  rng: np.random.Generator | None = None,
  view: int = 0,
) -> np.ndarray:
  """The clip as the model sees it, float32 [person, window, joint, channel].

  People beyond the window's have no say in which frames it sees. Arguments as of `sample_times`.
  """
  s, joint_shape = sampling, persons[0].shape[1:]
  persons = persons[: s.num_persons]
  times = sample_times(persons, s.window, s.kind, s.fill, rng, view, s.views)
  shown = np.empty((s.num_persons, s.window), np.int32)
  frames = [np.zeros((1, *joint_shape), np.float32), *select(persons, times, s.fill, 1, shown)]
  placed = placement(persons, s, joint_shape[-1])
  return expand(np.concatenate(frames), shown, 0, s.center, np, **placed)


def sample_times(
  persons: Sequence[np.ndarray],
  window: int,
  sampling: str,
  fill: str,
  rng: np.random.Generator | None = None,
  view: int = 0,
  views: int = 1,
) -> np.ndarray:
  """Times [window] of the frames to show; random where `rng` is given, else the view's.

  The clip is as long as the longest of `persons`, and tracked where one of them is.

  - loop: the whole clip; beyond its end it is filled as the data set says; a longer clip is cropped
    at its centre. Never random.
  - random_crop: `window` successive frames from a random start; evaluation: starts spread evenly,
    a single view, as the middle one of several, is `loop`'s. A clip shorter than the window starts
    anywhere in its loop (fill loop) or lies anywhere in the window (fill zero); of its evaluation
    views the first is `loop`'s, the others are spread evenly behind it.
  - random_shift: the tracked span at a random place of the window, untracked around it; longer
    clips are cropped at random; evaluation: as `loop` for longer clips, else at the start.
  - uniform: one frame from each of `window` equal segments, at random within the segment;
    evaluation: view k at fraction (k + 1/2) / views. A clip shorter than the window is taken as
    random_crop takes it.
  - random_sorted: `window` frames drawn with replacement and sorted, however long the clip is, as
    CTR-GCN (Chen et al., ICCV 2021) reads NW-UCLA; evaluation: as `uniform`, and a clip shorter
    than the window shows its frames several times each, in order.
  """
  length = max((len(person) for person in persons), default=0)
  if sampling == "loop" or not length:
    return loop_times(length, window)
  if sampling == "random_sorted" and rng is not None:
    return np.sort(rng.integers(length, size=window))
  if sampling == "random_sorted" or (sampling == "uniform" and length >= window):
    return uniform_times(
      length, window, (view + 0.5) / views if rng is None else rng.random(window)
    )
  if sampling == "random_shift" and length <= window:
    first, last = _tracked_span(persons)
    begin = 0 if rng is None else int(rng.integers(window - (last - first) + 1))
    return shift_times(first, last, window, begin)
  if length >= window:
    starts = length - window + 1
    spread = ((2 * view + 1) * starts - 1) // (2 * views)
    return crop_times(window, spread if rng is None else int(rng.integers(starts)))
  if fill == "loop":
    return crop_times(window, view * length // views if rng is None else int(rng.integers(length)))
  places = window - length + 1
  return crop_times(window, -(view * places // views if rng is None else int(rng.integers(places))))


def _tracked_span(persons: Sequence[np.ndarray]) -> tuple[int, int]:
  """First tracked frame of anybody, and one beyond the last."""
  spans = [np.flatnonzero(person.any(axis=(1, 2))) for person in persons]
  spans = [span for span in spans if len(span)]
  if not spans:
    return 0, 0
  return min(int(s[0]) for s in spans), max(int(s[-1]) for s in spans) + 1


def select(
  persons: Sequence[np.ndarray], times: np.ndarray, fill: str, first: int, shown: np.ndarray
) -> list[np.ndarray]:
  """The frames that a clip's window shows, each person's one after the other, and where.

  Args:
    persons: [frames_m, joint, channel] each.
    times: [window]; UNTRACKED shows nobody.
    fill: what is beyond a person's last frame: 'loop': frame t of person m is its frame t modulo
      frames_m; 'zero': nobody.
    first: number of the first of these frames, where they follow those of other clips.
    shown: int32 [person, window], overwritten: the number of the frame, or UNTRACKED. People beyond
      its first axis are left out, rows beyond the people show nobody.
  Returns:
    [frame, joint, channel] for each person: all frames, or `window`, if that is less.
  """
  shown[:] = UNTRACKED
  frames = []
  for row, person in zip(shown, persons, strict=False):
    length = len(person)
    if not length:
      continue
    numbers = times % length
    tracked = times >= 0 if fill == "loop" else (times >= 0) & (times < length)
    if length > len(times):
      person, numbers = person[numbers], np.arange(len(times))
    np.add(numbers, first, out=row, where=tracked, casting="same_kind")
    frames.append(person)
    first += len(person)
  return frames


def placement(
  persons: Sequence[np.ndarray], sampling: Sampling, channels: int, scale: float = 0
) -> dict[str, np.ndarray]:
  """What of a whole clip `expand` needs to know to place it: nothing, `origin`, `factor` or both.

  Args:
    persons: [frames_m, joint, channel] each, the main person first.
    channels: of a joint.
    scale: stored whole numbers divided by this are coordinates; 0 where floats are stored.
  Returns:
    origin: float32 [channel], the joint `center` in the first frame that tracks the first person.
    factor: float32, BODY_SIZE by the sum of the first person's bones, each at its mean length over
      the frames that track both of its ends (the centre by `skeletons.tracked`, as it may come at
      0); 1 where none is ever tracked.
  """
  placed: dict[str, np.ndarray] = {}
  moved, sized = sampling.origin == "first_frame", sampling.bone_parents is not None
  if sampling.center is None or not (moved or sized):
    return placed
  joints = len(sampling.bone_parents or range(sampling.center + 1))  # those that are looked at here
  person = persons[0] if persons else np.zeros((0, joints, channels))
  person = np.divide(person, scale or 1, dtype=np.float32)
  seen = skeletons.tracked(person[None], sampling.center)[0]  # [frame, joint]
  if moved:
    first = np.flatnonzero(seen.any(1))[:1]
    placed["origin"] = person[first, sampling.center].sum(0)
  if sized:
    parents = list(sampling.bone_parents)
    both = seen & seen[:, parents]
    lengths = np.linalg.norm(person - person[:, parents], axis=-1)
    total = (np.sum(lengths * both, 0) / np.maximum(both.sum(0), 1)).sum()
    placed["factor"] = np.float32(BODY_SIZE / total if total else 1)
  return placed


def expand(
  frames: Any,
  shown: Any,
  scale: float,
  center: int | None,
  xp: ModuleType = jnp,
  *,
  origin: Any = None,
  factor: Any = None,
) -> Any:
  """Clips as the model sees them; the same to the last bit in NumPy and in JAX on a CPU.

  XLA's division on a GPU (div.full.f32) may differ by 2 in the last place.

  Looks up what is shown, then subtracts the first person's joint `center`, frame by frame or as
  `origin` says, from every tracked joint of everybody, and multiplies by `factor`; a joint whose
  coordinates are all zero is untracked and stays so.

  Args:
    frames: [frame, joint, channel], as they are stored; one at least.
    shown: int32 [..., person, window], numbers of frames, or UNTRACKED.
    scale: stored whole numbers divided by this are coordinates; 0 where floats are stored.
    center: None where the coordinates are to be taken as they are.
    xp: numpy, or jax.numpy.
    origin: [..., channel], factor: [...]: `placement` of each clip; None where there is none.
  Returns:
    float32 [..., person, window, joint, channel].
  """
  clips = xp.take(frames, shown, axis=0, mode="clip").astype(np.float32)
  if scale:
    # XLA divides by a constant, or by one number for all, by multiplying with its reciprocal, which
    # can differ in the last bit; so here is one divisor each.
    clips = clips / xp.where(clips == 0, np.float32(1), np.float32(scale))
  clips = xp.where((shown >= 0)[..., None, None], clips, np.float32(0))
  if center is None:
    return clips
  if origin is None:
    origin = clips[..., :1, :, center : center + 1, :]
  else:
    origin = origin[..., None, None, None, :]
  placed = clips - origin
  if factor is not None:
    placed = placed * factor[..., None, None, None, None]
  return xp.where((clips != 0).any(-1, keepdims=True), placed, np.float32(0))
