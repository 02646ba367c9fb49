"""A trained run as a function from joints to class probabilities."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mstgcn_jax import checkpoints
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
    checkpoint: str = "newest",
    stream: str | None = None,
    trust: bool = False,
  ):
    """Loads a run; arguments and errors as for `checkpoints.load_model`."""
    facts = checkpoints.read_model_facts(workdir)
    self.stream = checkpoints.choose_stream(facts, stream)
    self.class_names = tuple(facts["class_names"])
    self.model, variables = checkpoints.load_trained(
      workdir, checkpoint=checkpoint, stream=self.stream, trust=trust
    )
    self._normalization = variables["normalization"]
    self.skeleton = self.model.config.skeleton
    self.input = facts["input"]
    self._apply = nnx.jit(self._logits)

  def _logits(self, model: nnx.Module, clips: jax.Array) -> jax.Array:
    return model(model_input(clips, (self.stream,), 0, self.skeleton, self._normalization))

  def __call__(self, clips: jax.Array) -> jax.Array:
    """Class probabilities, float32 [batch, class].

    Args:
      clips: float32 [batch, person, frame, joint, channel], prepared as the training data was
        (`sample` gives such a clip); any number of frames.
    """
    return jax.nn.softmax(self._apply(self.model, jnp.asarray(clips)))

  def sample(self, data_set: DataSet, row: int) -> np.ndarray:
    """A data set's clip as the run saw it in evaluation, [person, frame, joint, channel]."""
    return data_set.sample(row, **self.input)
