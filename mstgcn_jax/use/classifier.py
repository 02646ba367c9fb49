"""A trained run as a function from joints to class probabilities."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data_prep.raw_values import LARGEST
from mstgcn_jax import skeletons, words
from mstgcn_jax.data import facing, normalise, streams
from mstgcn_jax.data.data_set import DataSet, Persons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.training import checkpoints
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.device_batches import one_ahead
from mstgcn_jax.training.train_step import model_input

_FRACTIONS_REACH = 2  # from the picture's middle: where most joints are beyond, they are in pixels
_PIXELS_REACH = 1.25  # of the picture's size: where joints are beyond, it was a larger one


def in_batches(
  function: Callable[[np.ndarray], jax.Array], clips: Iterable[np.ndarray], size: int
) -> Iterator[np.ndarray]:
  """A function of [batch, …] on clips, as arrays [clip, …] of up to `size` clips each.

  The last batch is filled up with zeros, so that one shape is compiled.
  """

  def started() -> Iterator[tuple[jax.Array, int]]:
    left = iter(clips)
    while some := list(itertools.islice(left, size)):
      batch = np.stack([*some, *[np.zeros_like(some[0])] * (size - len(some))])
      yield function(batch), len(some)

  for found, count in one_ahead(started()):
    yield np.asarray(found)[:count]


def finite(found: np.ndarray, step: int) -> np.ndarray:
  """What the network of a step gave; DataError where a number of it is not finite."""
  if not np.isfinite(found).all():
    raise DataError(
      f"the network of step {step} gives no finite numbers: its training diverged; take another "
      "--checkpoint, or train with a smaller optimizer.learning_rate"
    )
  return found


def bounded(joints: np.ndarray, axes: str) -> np.ndarray:
  """Joints of such (last) axes, as in '[joint, channel]'; DataError names the first coordinate that
  is not finite or beyond reason."""
  bad = np.argwhere(~(np.abs(joints) <= LARGEST))
  if len(bad):
    names = axes.strip("[]").split(", ")
    place = ", ".join(f"{n} {i}" for n, i in zip(names, bad[0][-len(names) :], strict=True))
    raise DataError(
      f"{place} is {joints[tuple(bad[0])]:g}; expected finite coordinates up to {LARGEST:g}: "
      "a joint that is not tracked is 0 in all its channels"
    )
  return joints


class Classifier:
  """Classifies clips of joints as a workdir's network does: stream, normalisation, network.

      classify = mst.Classifier("runs/quickstart")
      joints = np.load("my_clip.npy")  # [frame, joint, channel] or [person, frame, joint, channel]
      probabilities = classify(classify.from_recording(joints)[None])  # [batch, class]
      classify.class_names[int(probabilities[0].argmax())]

  Attributes:
    class_names: one per class.
    stream: what the network sees of the joints, such as 'bone'.
    skeleton: layout of the joints that it takes.
    channels: coordinates of a joint that it takes.
    sampling: how a recording becomes the window that it was evaluated on.
    rotated: whether the training data were turned; None where that is not known.
    scored: whether joints are x, y and a score, so that one of score 0 is not tracked.
    upward: the axis that points up in recordings, where they are turned about it first, else '';
      that of the training recordings. Set it for others: '-y' for MediaPipe's world landmarks.
    units: of the training clips' coordinates, as far as known; recordings in pixels become
      'image fractions' of `picture`.
    picture: (width, height) in pixels, that of the training data where they say; () if unknown. Set
      it for recordings of another size.
    step: training step of the parameters.
    model: the network alone.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    checkpoint: str | int = "newest",
    stream: str | None = None,
    trust: bool = False,
  ):
    """Loads a run; arguments and errors as for `checkpoints.load_trained`."""
    facts = workdir_lib.read(workdir)
    self.stream = facts.stream(stream)
    self.class_names = facts.class_names
    self.model, variables, self.step = checkpoints.load_trained(
      workdir, checkpoint=checkpoint, stream=self.stream, trust=trust
    )
    self._normalization = variables["normalization"]
    self.skeleton = facts.model.skeleton
    self.channels = facts.model.in_channels // streams.num_channels(self.stream, 1)
    self.sampling = facts.sampling
    self._joint_at_zero = facts.joint_at_zero
    self.rotated = facts.rotated
    self._turned_by = self.skeleton if facts.rotated else normalise.unturned(self.skeleton)
    self.scored = facts.scored
    self.upward = self._upward_in_training = facts.upward
    self._by_sum = facts.by_sum
    self.units = facts.units
    self.picture = facts.picture
    # Flattened once: to do so at every call, as nnx.jit does, takes longer than a small network.
    graph, state = nnx.split(self.model)
    self._weights, tree = jax.tree.flatten(state)

    def jitted(function):
      model = lambda weights: nnx.merge(graph, jax.tree.unflatten(tree, weights))
      on_input = jax.jit(lambda weights, clips: function(model(weights), self._input(clips)))
      return lambda clips: on_input(self._weights, clips)

    self._logits = jitted(lambda model, x: model(x))
    self._probabilities = jitted(lambda model, x: jax.nn.softmax(model(x)))
    self._features = jitted(lambda model, x: model.features(x).mean((1, 2, 3)))

  def _input(self, clips: jax.Array) -> jax.Array:
    center, normalization = self._joint_at_zero, self._normalization
    return model_input(clips, (self.stream,), 0, self.skeleton, center, normalization)

  def __call__(self, clips: np.ndarray | jax.Array) -> jax.Array:
    """Class probabilities, float32 [batch, class].

    Args:
      clips: numbers [batch, person, frame, joint, channel], prepared as the training data was
        (`from_recording` and `from_data_set` give such clips); any number of frames; 0 where
        nothing is tracked. Or [batch, view, person, …]: the mean over a clip's views.
    Raises:
      ConfigError: another shape, or no clip.
      DataError: a coordinate is not finite.
    """
    return self._mean_over_views(self._probabilities, clips)

  def logits(self, clips: np.ndarray | jax.Array) -> jax.Array:
    """As a call on [batch, person, …], before the softmax and unchecked: for `jax.grad`."""
    return self._logits(clips)

  def features(self, clips: np.ndarray | jax.Array) -> jax.Array:
    """What the classifier sees of clips: the last block's channels, float32 [batch, channel].

    The mean over persons, frames and joints. Arguments and errors as of a call; ConfigError, too,
    where a network of one's own has none.
    """
    if not hasattr(self.model, "features"):
      raise ConfigError(
        f"the run's network {type(self.model).__name__} has no features(clips); docs/networks.md "
        "says what it gives"
      )
    return self._mean_over_views(self._features, clips)

  def _mean_over_views(self, function, clips: np.ndarray | jax.Array) -> jax.Array:
    clips = self._checked(clips, "[batch, person, frame, joint, channel]")
    if 0 in clips.shape[:-4]:
      raise ConfigError(f"clips have the shape {clips.shape}: there is none; give at least one")
    if clips.ndim == 6:
      of_views = self._mean_over_views(function, clips.reshape(-1, *clips.shape[2:]))
      return of_views.reshape(*clips.shape[:2], -1).mean(1)
    persons = self.sampling.num_persons
    if clips.ndim > 6 or clips.shape[-4] != persons or not clips.shape[-3]:
      raise ConfigError(
        f"clips have the shape {clips.shape}: {clips.shape[-4]} persons, {clips.shape[-3]} frames; "
        f"this run takes {persons} persons and at least 1 frame"
      )
    return function(jnp.asarray(clips))

  def from_data_set(self, data_set: DataSet, row: int) -> np.ndarray:
    """A data set's clip as the run saw it in evaluation, [person, frame, joint, channel].

    [view, person, frame, joint, channel] where it was evaluated on several views of each.

    Raises:
      ConfigError: `data_set` is none, has no clip of that number, or other joints than the run's.
    """
    if not isinstance(data_set, DataSet):
      raise ConfigError(f"data_set is {data_set!r:.60}; expected what `open_data_set` returns")
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
      raise ConfigError(f"row is {row!r:.60}; expected a clip's number, from 0 on")
    if not 0 <= row < len(data_set):
      raise ConfigError(f"row is {row}; {data_set.name} has {len(data_set)} clips, from 0 on")
    if data_set.skeleton.joints != self.skeleton.joints:
      raise ConfigError(
        f"{data_set.path} has the joints of {data_set.skeleton.name}; this run takes those of "
        f"{self.skeleton.name}"
      )
    loading = {"fill": data_set.fill, "center": data_set.center}
    return dataclasses.replace(self.sampling, **loading).windows(data_set.read([row])[0])

  def from_recording(
    self, persons: Sequence[np.ndarray] | np.ndarray, *, upward: str | None = None
  ) -> np.ndarray:
    """One recording as the run would see it; the shape as of `from_data_set`.

    Args:
      persons: [frame, joint, channel] each, the main person first, or one array [(person,) frame,
        joint, channel], as recorded: it is turned as the training data was, and pixels become
        fractions of the picture where the training data's are. What the readers of `data_prep` give
        (`ntu.read_recording(…).persons`) and what `DataSet.read` gives has been. 0 where nothing is
        tracked, be it the score alone where channels are x, y and score.
      upward: in place of the attribute, for this recording; of runs that turn it about that axis.
    Raises:
      ConfigError: another shape, no such axis, or one for a run that turns about none.
      DataError: a coordinate is not finite, nobody is tracked, or joints are in pixels that do not
        fit `picture`.
    """
    return self.sampling.windows(self._prepared(persons, upward))

  # Their names in version 0.1.
  sample, window = from_data_set, from_recording
  input = property(lambda self: dataclasses.asdict(self.sampling))

  def _prepared(self, persons: Sequence[np.ndarray] | np.ndarray, upward: str | None) -> Persons:
    """The persons of a recording as the training data's are stored."""
    recorded = not isinstance(persons, Persons)
    up, wanted = upward or self.upward, self._upward_in_training
    if (up or wanted) and up not in facing.AXES:
      raise ConfigError(f"upward is {up!r}; expected one of {', '.join(facing.AXES)}")
    if up and not wanted:
      raise ConfigError(
        f"upward is {up!r}; the training data were turned about no such axis: leave it out"
      )
    if getattr(persons, "ndim", 0) and hasattr(persons, "__array__"):  # JAX's, too
      persons = np.asarray(persons)
    if isinstance(persons, np.ndarray) and persons.ndim == 3:
      persons = [persons]
    if not isinstance(persons, np.ndarray | Sequence) or isinstance(persons, str):
      raise ConfigError(
        f"a recording is {persons!r:.60}; expected one array [frame, joint, channel] per person"
      )
    persons = [self._checked(person, "[frame, joint, channel]") for person in persons]
    if recorded:
      persons = self._as_stored(persons, up)
    if not any(person.any() for person in persons[: self.sampling.num_persons]):
      raise DataError("nobody is tracked in this recording: it has no joint that is not 0")
    return Persons(persons)

  def _as_stored(self, persons: Sequence[np.ndarray], up: str) -> Sequence[np.ndarray]:
    """Persons as recorded, `up` pointing up, as the training data's recordings were stored."""
    if self.scored:
      persons = [skeletons.without_unscored(person) for person in persons]
    persons = self.as_fractions(persons)
    if self.rotated or self.sampling.center is not None:
      wanted = self._upward_in_training
      if wanted:
        persons = facing.with_up(persons, up, wanted)
      return normalise.normalise(persons, self._turned_by, by_sum=self._by_sum, upward=wanted)
    # As `data_prep` cuts such clips.
    ends = self.sampling.fill == "zero"
    return normalise.cut_ends(persons) if ends else normalise.cut_together(persons)

  def as_fractions(self, persons: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Persons in pixels as fractions of the picture, where the run takes these.

    DataError where `picture` is unknown or too small.
    """
    if not len(persons) or self.units != "image fractions":
      return persons
    places = np.abs(np.concatenate([person[..., :2].reshape(-1, 2) for person in persons]))
    places = places[places.any(-1)]
    if not len(places) or (np.median(places, 0) <= _FRACTIONS_REACH).all():
      return persons
    reach = np.percentile(places, 99, axis=0)  # estimators put single joints anywhere
    if not self.picture or (reach > _PIXELS_REACH * np.array(self.picture)).any():
      size = "x".join(f"{side:g}" for side in self.picture) or "of a size that it does not know"
      raise DataError(
        f"joints reach {reach[0]:g}, {reach[1]:g}: pixels, it seems. This run takes fractions of "
        f"the picture ({size}), x/width - 0.5, 0.5 - y/height; set `Classifier.picture` to the "
        "width and height, or give fractions"
      )
    tracked = [person.any(-1, keepdims=True) for person in persons]
    return [
      (normalise.fractions(person, self.picture) * seen).astype(np.float32)
      for person, seen in zip(persons, tracked, strict=True)
    ]

  def _checked(self, array: Any, axes: str) -> np.ndarray:
    """Joints as float32, of the layout that the network takes."""
    try:
      with np.errstate(over="ignore"):
        found = np.asarray(array)
        kinds = (np.bool_, np.integer, np.floating)  # JAX's bfloat16, too
        number = any(jnp.issubdtype(found.dtype, kind) for kind in kinds)
        found = found.astype(np.float32) if number else None
    except (TypeError, ValueError):  # lists of unequal lengths
      found = None
    expected = (self.skeleton.num_joints, self.channels)
    if found is None or found.ndim < axes.count(",") + 1 or found.shape[-2:] != expected:
      shape = f"have the shape {found.shape}" if found is not None else "are no array of numbers"
      raise ConfigError(
        f"the joints {shape}; expected {axes} with {expected[0]} joints of {self.skeleton.name} "
        f"and {words.counted(expected[1], 'channel')}"
      )
    return bounded(found, axes)


def of_streams(
  workdir: str | pathlib.Path,
  names: Sequence[str],
  *,
  checkpoint: str | int = "newest",
  trust: bool = False,
) -> dict[str, Classifier]:
  """Name -> classifier of these streams of a run, all at one step.

  Arguments and errors otherwise as of `Classifier`.
  """
  found = {}
  for name in names:
    found[name] = Classifier(workdir, stream=name, checkpoint=checkpoint, trust=trust)
    checkpoint = found[name].step  # a run beside may write newer ones
  return found
