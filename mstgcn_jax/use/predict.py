"""Labels of recordings: a run's streams fused, calibrated, whole or by a sliding window."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mstgcn_jax.data import normalise
from mstgcn_jax.data.data_set import Persons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation import calibration, fusion
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use.classifier import finite, in_batches, of_streams
from mstgcn_jax.use.recordings import Recording

UNKNOWN = "unknown"
_AT_ONCE = 16  # clips that go through the network together
_FEW = 4  # that go one by one


@dataclasses.dataclass(frozen=True)
class Windows:
  """How a long recording is cut, in frames."""

  length: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What a recording, or a part of it, shows.

  Attributes:
    probabilities: [class].
    person: number of the person whom it is about; None for all together.
    start, end: first frame, and one beyond the last.
  """

  probabilities: np.ndarray
  person: int | None
  start: int
  end: int


@dataclasses.dataclass(frozen=True)
class Naming:
  """Class names for probabilities.

  Attributes:
    unknown_below: a label less probable than this is `UNKNOWN`.
  """

  class_names: Sequence[str]
  unknown_below: float = 0.0

  def number(self, probabilities: np.ndarray) -> int:
    """The likeliest class, or -1 for unknown."""
    best = int(probabilities.argmax())
    return best if probabilities[best] >= self.unknown_below else -1

  def label(self, probabilities: np.ndarray) -> str:
    """The name of the likeliest class, or 'unknown'."""
    number = self.number(probabilities)
    return UNKNOWN if number < 0 else self.class_names[number]

  def top(self, probabilities: np.ndarray, count: int) -> list[tuple[str, float]]:
    """The likeliest classes and their probabilities, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(self.class_names[i], float(probabilities[i])) for i in order.tolist()]

  def as_json(self, probabilities: np.ndarray, count: int) -> dict[str, Any]:
    """Label, confidence and `top`, as the commands write them."""
    tops = [
      {"label": name, "probability": round(share, 6)}
      for name, share in self.top(probabilities, count)
    ]
    label = self.label(probabilities)
    return {"label": label, "confidence": tops[0]["probability"], "top": tops}


class Predictor:
  """A run as it is judged: its only stream, or the fusion of all, at the fitted temperature.

  Attributes:
    class_names: one per class.
    classifier: of the first stream; all take the same clips.
    calibrated: in words, whether and on what the probabilities were calibrated.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    checkpoint: str | int = "newest",
    stream: str | None = None,
    trust: bool = False,
  ):
    """Loads a run; errors as for `Classifier`.

    Args:
      stream: this one alone.
    """
    names = (stream,) if stream else workdir_lib.read(workdir).streams
    self._classifiers = of_streams(workdir, names, checkpoint=checkpoint, trust=trust)
    self.classifier = next(iter(self._classifiers.values()))
    self.class_names = self.classifier.class_names
    self._unturned = normalise.unturned(self.classifier.skeleton)
    name = fusion.headline_name(self._classifiers)
    self.temperature, self.calibrated = calibration.of_run(
      pathlib.Path(workdir), name, self.classifier.step
    )

  def probabilities(self, clips: Iterable[np.ndarray]) -> np.ndarray:
    """Class probabilities, float64 [clip, class], of clips as `Classifier.from_recording` gives.

    DataError where the network's numbers are not finite.
    """
    clips = iter(clips)
    first = list(itertools.islice(clips, _FEW + 1))
    # Two shapes are compiled: one clip, which may have to be fast, and a full batch, which takes a
    # CPU as long whatever it is filled up with.
    size = 1 if len(first) <= _FEW else _AT_ONCE
    parts = list(in_batches(self._of_streams, itertools.chain(first, clips), size))
    if not parts:
      return np.zeros((0, len(self.class_names)))
    of_streams = np.moveaxis(_log(np.concatenate(parts)), 1, 0)
    logs = dict(zip(self._classifiers, of_streams, strict=True))
    probabilities = calibration.apply(fusion.headline(fusion.with_fused(logs)), self.temperature)
    return finite(probabilities, self.classifier.step)

  def _of_streams(self, clips: np.ndarray) -> jax.Array:
    """Each stream's probabilities, [clip, stream, class]."""
    return jnp.stack([classify(clips) for classify in self._classifiers.values()], 1)

  def whole(self, recording: Recording, *, per_person: bool = False) -> list[Prediction]:
    """One prediction for a recording, seen as evaluation sees a clip; or one for each person.

    Raises:
      ConfigError, DataError: the recording does not fit the run, or shows nobody.
    """
    persons = self._as_stored(recording)
    length = max(map(len, recording.recorded), default=0)
    groups = _groups(persons, per_person)
    if not groups:
      raise DataError(f"{recording.name}: nobody is tracked in this recording")
    clips = [self._clip(recording, group) for _, group in groups]
    return [
      Prediction(probabilities, person, 0, length)
      for (person, _), probabilities in zip(groups, self.probabilities(clips), strict=True)
    ]

  def clip(self, recording: Recording) -> np.ndarray:
    """A recording as evaluation sees it (`Classifier.from_recording`).

    Raises:
      ConfigError, DataError: the recording does not fit the run, or shows nobody.
    """
    return self._clip(recording, self._as_stored(recording))

  def segments(
    self, recording: Recording, windows: Windows, naming: Naming, *, per_person: bool = False
  ) -> list[Prediction]:
    """Successive parts of a recording, each of one label, by a sliding window.

    Every window is a clip of its own, turned by its own first frames unless the recording comes
    turned as a whole. A moment's probabilities are the mean of those of the windows that it is in;
    successive moments of one label are a segment, whose probabilities are their mean. Where no
    window shows anybody there is none.
    """
    self._as_stored(recording)  # refuses what does not fit
    found = []
    for person, group in _groups(list(recording.recorded), per_person):
      spans = [
        (start, end)
        for start, end in cut(max(map(len, group)), windows)
        if any(body[start:end].any() for body in group)
      ]
      parts = (self._part(recording, [body[a:b] for body in group]) for a, b in spans)
      clips = (self._clip(recording, part) for part in parts)
      joined = join(spans, self.probabilities(clips), naming)
      found += [Prediction(p, person, start, end) for start, end, p in joined]
    if not found:
      raise DataError(f"{recording.name}: nobody is tracked in this recording")
    return found

  def _as_stored(self, recording: Recording) -> Sequence[np.ndarray]:
    """The persons as the run's data sets store them, or as recorded, to be made so."""
    skeleton, mine = recording.skeleton, self.classifier.skeleton
    if skeleton is not None and skeleton.joints != mine.joints:
      raise ConfigError(
        f"{recording.name} has the {skeleton.num_joints} joints of {skeleton.name}; this run takes "
        f"the {mine.num_joints} of {mine.name}"
      )
    if recording.rotated and self.classifier.rotated is False:
      if recording.turned:
        raise ConfigError(
          f"{recording.name}: its source turns joints upright, and this run was trained on joints "
          "as they were recorded; add -- --as-is where the source takes it, or give a .npy array"
        )
      return recording.recorded
    if recording.rotated is False and self.classifier.rotated:
      return list(recording.persons)
    return recording.persons

  def _part(self, recording: Recording, persons: list[np.ndarray]) -> Sequence[np.ndarray]:
    """A window of `recorded`: to be turned, or, as a second turn would be another, merely cut."""
    if not recording.turned:
      return persons
    if self.classifier.sampling.fill == "zero":
      return Persons(normalise.cut_ends(persons))
    return Persons(normalise.normalise(persons, self._unturned, by_sum=False))

  def _clip(self, recording: Recording, persons: Sequence[np.ndarray]) -> np.ndarray:
    up = recording.coordinates.get("up") if self.classifier.upward else None
    try:
      return self.classifier.from_recording(persons, upward=up)
    except (ConfigError, DataError) as error:
      raise type(error)(f"{recording.name}: {error}") from error


def _log(probabilities: np.ndarray) -> np.ndarray:
  return np.log(np.maximum(probabilities.astype(np.float64), 1e-30))


def _groups(
  persons: Sequence[np.ndarray], per_person: bool
) -> list[tuple[int | None, Sequence[np.ndarray]]]:
  """(None, all), or (number, that person alone) for each who is tracked; nothing for nobody."""
  tracked = [i for i, person in enumerate(persons) if person.any()]
  if not per_person:
    return [(None, persons)] if tracked else []
  kind = Persons if isinstance(persons, Persons) else list
  return [(i + 1, kind([persons[i]])) for i in tracked]


def cut(length: int, windows: Windows) -> Iterator[tuple[int, int]]:
  """(first frame, one beyond the last) of windows; the last one ends where the recording does."""
  last = max(0, length - windows.length)
  for start in range(0, last, windows.stride):
    yield start, start + windows.length
  yield last, length


def join(
  spans: Sequence[tuple[int, int]], probabilities: np.ndarray, naming: Naming
) -> list[tuple[int, int, np.ndarray]]:
  """Segments (start, end, probabilities [class]) of one label each, from windows that overlap.

  Args:
    spans: (start, end) of each window, both ascending, as of `cut`.
    probabilities: [window, class].
  """
  moments = sorted({moment for span in spans for moment in span})
  segments: list[tuple[int, int, np.ndarray]] = []  # with the sum over frames
  label = None
  starts, ends = np.array(spans).reshape(-1, 2).T
  for start, end in itertools.pairwise(moments):
    first, stop = np.searchsorted(ends, end), np.searchsorted(starts, start, "right")
    if first >= stop:  # between windows
      continue
    mean = probabilities[first:stop].mean(0)
    same = segments and segments[-1][1] == start and label == naming.number(mean)
    label = naming.number(mean)
    begin, total = (segments[-1][0], segments.pop()[2]) if same else (start, 0.0)
    segments.append((begin, end, total + mean * (end - start)))
  return [(start, end, total / (end - start)) for start, end, total in segments]
