"""A trained run as a function from joints to class probabilities."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import torch_weights, words
from mstgcn_jax.data import temporal_sampling
from mstgcn_jax.data.data_set import DataSet, Persons
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.training import checkpoints
from mstgcn_jax.training.train_step import model_input

_LARGEST = 1e9  # a coordinate beyond is damage, as for data_prep


class Classifier:
  """Classifies clips of joints as a workdir's network does: stream, normalisation, network.

      classify = Classifier("runs/quickstart")
      probabilities = classify(clips)  # [batch, class]

  Attributes:
    class_names: a name a class.
    skeleton: layout of the joints that it takes.
    model: the network alone.
    channels: coordinates of a joint that it takes.
    input: window, num_persons, sampling and views that it was trained and evaluated with.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    checkpoint: str | int = "newest",
    stream: str | None = None,
    trust: bool = False,
  ):
    """Loads a run; arguments and errors as for `checkpoints.load_model`."""
    facts = checkpoints.read_model_facts(workdir)
    self.stream = checkpoints.choose_stream(facts, stream)
    self.class_names = tuple(facts["class_names"])
    self.model, variables, _ = checkpoints.load_trained(
      workdir, checkpoint=str(checkpoint), stream=self.stream, trust=trust
    )
    self._normalization = variables["normalization"]
    self.skeleton = self.model.config.skeleton
    self.channels = self.model.config.in_channels // (2 if "+" in self.stream else 1)
    self.input = facts["input"]
    # An imported model doesn't know its data, but what the reference does.
    self._loading = facts.get("loading", torch_weights.reference_loading(self.skeleton))
    self._joint_at_zero = facts.get("joint_at_zero", self.skeleton.center)
    # Whether the training clips were turned; runs of version 0.1.0 don't say.
    centred = self._loading["center"] is not None
    self._turned = facts.get("preparation", {"rotated": centred})["rotated"]
    self._apply = nnx.jit(self._logits)

  def _logits(self, model: nnx.Module, clips: jax.Array) -> jax.Array:
    center, normalization = self._joint_at_zero, self._normalization
    return model(model_input(clips, (self.stream,), 0, self.skeleton, center, normalization))

  def __call__(self, clips: jax.Array) -> jax.Array:
    """Class probabilities, float32 [batch, class].

    Args:
      clips: numbers [batch, person, frame, joint, channel], prepared as the training data was
        (`sample` and `window` give such clips); any number of frames; 0 where nothing is tracked.
        Or [batch, view, person, …]: the probabilities of a clip's views are averaged.
    Raises:
      ConfigError: another shape.
      DataError: a coordinate is not finite.
    """
    clips = self._checked(clips, "[batch, person, frame, joint, channel]")
    if clips.ndim == 6:
      probabilities = self(clips.reshape(-1, *clips.shape[2:]))
      return probabilities.reshape(*clips.shape[:2], -1).mean(1)
    if clips.ndim > 6 or clips.shape[-4] != self.input["num_persons"] or not clips.shape[-3]:
      raise ConfigError(
        f"clips have the shape {clips.shape}: {clips.shape[-4]} persons, {clips.shape[-3]} frames; "
        f"this run takes {self.input['num_persons']} persons and at least 1 frame"
      )
    return jax.nn.softmax(self._apply(self.model, jnp.asarray(clips)))

  def sample(self, data_set: DataSet, row: int) -> np.ndarray:
    """A data set's clip as the run saw it in evaluation, [person, frame, joint, channel].

    [view, person, frame, joint, channel] where it was evaluated on several views of each.
    """
    return self._views(lambda **view: data_set.sample(row, **self._how, **view))

  def window(self, persons: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """One recording as the run would see it; the shape as of `sample`.

    Args:
      persons: [frame, joint, channel] each, the main person first, or one array [(person,) frame,
        joint, channel], as recorded: it is turned as the training data was. What the readers of
        `data_prep` give (`ntu.read_recording(…).persons`) and what `DataSet.read` gives has been.
        0 where nothing is tracked.
    Raises:
      ConfigError: another shape.
      DataError: a coordinate is not finite, or nobody is tracked.
    """
    persons, how = self._prepared(persons), self._how
    shape = (how["num_persons"], how["window"], self.skeleton.num_joints, self.channels)
    return self._views(
      lambda **view: temporal_sampling.sample(
        persons, how["sampling"], **self._loading, out=np.empty(shape, np.float32), **view
      )
    )

  @property
  def _how(self) -> dict[str, Any]:
    return {name: value for name, value in self.input.items() if name != "views"}

  def _views(self, view: Callable[..., np.ndarray]) -> np.ndarray:
    """`view(view=k, views=n)` for every k, stacked where there are several."""
    number = self.input.get("views", 1)  # runs of earlier versions do not say
    if number == 1:
      return view()
    return np.stack([view(view=k, views=number) for k in range(number)])

  def _prepared(self, persons: Sequence[np.ndarray] | np.ndarray) -> Persons:
    """The persons of a recording as the training data's are stored."""
    raw = not isinstance(persons, Persons)
    if isinstance(persons, np.ndarray) and persons.ndim == 3:
      persons = [persons]
    persons = [self._checked(person, "[frame, joint, channel]") for person in persons]
    if raw:
      # Only recordings need this room, so that the library does without it.
      from mstgcn_jax.data import normalise

      if self._turned or self._loading["center"] is not None:
        persons = normalise.normalise(persons, self.skeleton, by_sum=False)
      else:
        persons = normalise.cut_together(persons)
    if not any(person.any() for person in persons[: self.input["num_persons"]]):
      raise DataError("nobody is tracked in this recording: it has no joint that is not 0")
    return Persons(persons)

  def _checked(self, array: Any, axes: str) -> np.ndarray:
    """Joints as float32, of the layout that the network takes."""
    try:
      with np.errstate(over="ignore"):
        found = np.asarray(array)
        found = found.astype(np.float32) if found.dtype.kind in "iufb" else None
    except (TypeError, ValueError):  # lists of unequal lengths
      found = None
    expected = (self.skeleton.num_joints, self.channels)
    if found is None or found.ndim < axes.count(",") + 1 or found.shape[-2:] != expected:
      shape = f"have the shape {found.shape}" if found is not None else "are no array of numbers"
      raise ConfigError(
        f"the joints {shape}; expected {axes} with {expected[0]} joints of {self.skeleton.name} "
        f"and {words.counted(expected[1], 'channel')}"
      )
    bad = np.argwhere(~(np.abs(found) <= _LARGEST))
    if len(bad):
      names = axes.strip("[]").split(", ")
      place = ", ".join(f"{n} {i}" for n, i in zip(names, bad[0][-len(names) :], strict=True))
      raise DataError(
        f"{place} is {found[tuple(bad[0])]:g}; expected finite coordinates up to {_LARGEST:g}: "
        "a joint that is not tracked is 0 in all its channels"
      )
    return found
