"""Runs a golden file of `networks/` here: what its tests compare."""

import jax
import numpy as np
import optax
from flax import nnx
from reference import HERE, OPTIMIZER, GoldenFile


class NetworkReference(GoldenFile):
  """A golden file of another network."""

  def __init__(self, name: str, dtype: str):
    super().__init__(f"networks/{name}", dtype)

  def train(self):
    """Three steps: losses, the first step's logits and gradients, the state after the third."""
    self.model.train()
    graphdef, *variables = nnx.split(self.model, nnx.Param, nnx.BatchStat)
    params, stats = map(nnx.to_pure_dict, variables)

    def loss(params, stats):
      model = nnx.merge(graphdef, params, stats)
      model.train()
      logits = model(self.clips)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, self.labels)
      return losses.mean(), (logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

    @jax.jit
    @HERE
    def step(params, stats, momentum):
      (loss_value, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params, stats)
      updates, momentum = OPTIMIZER.update(grads, momentum, params)
      return loss_value, logits, grads, optax.apply_updates(params, updates), stats, momentum

    momentum = OPTIMIZER.init(params)
    losses = []
    for i in range(3):
      loss_value, logits, grads, params, stats, momentum = step(params, stats, momentum)
      losses.append(loss_value)
      if i == 0:
        first_logits, first_grads = logits, self.named(grads)
    return np.array(losses), first_logits, first_grads, self.named(params, stats)
