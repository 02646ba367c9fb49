"""A trained run as a function from joints to class probabilities."""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import checkpoints, temporal_sampling
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
    input: window, num_persons and sampling that it was trained with.
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
    # An imported model doesn't know its data; the reference's loops and is centred.
    self._loading = facts.get("loading", {"fill": "loop", "center": self.skeleton.center})
    self._apply = nnx.jit(self._logits)

  def _logits(self, model: nnx.Module, clips: jax.Array) -> jax.Array:
    return model(model_input(clips, (self.stream,), 0, self.skeleton, self._normalization))

  def __call__(self, clips: jax.Array) -> jax.Array:
    """Class probabilities, float32 [batch, class].

    Args:
      clips: float32 [batch, person, frame, joint, channel], prepared as the training data was
        (`sample` and `window` give such clips); any number of frames.
    """
    return jax.nn.softmax(self._apply(self.model, jnp.asarray(clips)))

  def sample(self, data_set: DataSet, row: int) -> np.ndarray:
    """A data set's clip as the run saw it in evaluation, [person, frame, joint, channel]."""
    return data_set.sample(row, **self.input)

  def window(self, persons: Sequence[np.ndarray]) -> np.ndarray:
    """One recording as the run would see it, [person, frame, joint, channel].

    Args:
      persons: float32 [frame, joint, channel] each, the main person first, as the readers of
        `data_prep` give them (`ntu.read_recording(…).persons`): turned, not yet centred.
    """
    shape = (self.input["num_persons"], self.input["window"])
    out = np.empty((*shape, self.skeleton.num_joints, persons[0].shape[-1]), np.float32)
    return temporal_sampling.sample(persons, self.input["sampling"], **self._loading, out=out)
