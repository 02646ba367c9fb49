"""A trained run as a function from joints to class probabilities."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import checkpoints, temporal_sampling, torch_weights
from mstgcn_jax.data_set import DataSet
from mstgcn_jax.train_step import model_input


class Classifier:
  """Classifies clips of joints as a workdir's network does: stream, normalisation, network.

      classify = Classifier("runs/quickstart")
      probabilities = classify(clips)  # [batch, class]

  Attributes:
    class_names: a name a class.
    skeleton: layout of the joints that it takes.
    model: the network alone.
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
    self.input = facts["input"]
    # An imported model doesn't know its data, but what the reference does.
    self._loading = facts.get("loading", torch_weights.reference_loading(self.skeleton))
    self._joint_at_zero = facts.get("joint_at_zero", self.skeleton.center)
    self._apply = nnx.jit(self._logits)

  def _logits(self, model: nnx.Module, clips: jax.Array) -> jax.Array:
    center, normalization = self._joint_at_zero, self._normalization
    return model(model_input(clips, (self.stream,), 0, self.skeleton, center, normalization))

  def __call__(self, clips: jax.Array) -> jax.Array:
    """Class probabilities, float32 [batch, class].

    Args:
      clips: float32 [batch, person, frame, joint, channel], prepared as the training data was
        (`sample` and `window` give such clips); any number of frames. Or [batch, view, person, …]:
        the probabilities of a clip's views are averaged.
    """
    clips = jnp.asarray(clips)
    if clips.ndim == 6:
      probabilities = self(clips.reshape(-1, *clips.shape[2:]))
      return probabilities.reshape(*clips.shape[:2], -1).mean(1)
    return jax.nn.softmax(self._apply(self.model, clips))

  def sample(self, data_set: DataSet, row: int) -> np.ndarray:
    """A data set's clip as the run saw it in evaluation, [person, frame, joint, channel].

    [view, person, frame, joint, channel] where it was evaluated on several views of each.
    """
    return self._views(lambda **view: data_set.sample(row, **self._how, **view))

  def window(self, persons: Sequence[np.ndarray]) -> np.ndarray:
    """One recording as the run would see it; the shape as of `sample`.

    Args:
      persons: float32 [frame, joint, channel] each, the main person first, as the readers of
        `data_prep` give them (`ntu.read_recording(…).persons`): turned, not yet centred.
    """
    how = self._how
    shape = (how["num_persons"], how["window"], self.skeleton.num_joints, persons[0].shape[-1])
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
