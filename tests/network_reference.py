"""Runs a golden file of `networks/` here: what its tests compare."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from golden import golden
from reference import QUICK

from mstgcn_jax import torch_weights
from mstgcn_jax.model import make_network


class NetworkReference:
  """One golden file: the published code's arrays (`self[...]`), and our network with its state."""

  def __init__(self, name: str, dtype: str):
    self.arrays = np.load(golden(f"networks/{name}.npz"))
    config = torch_weights.config_from_reference(json.loads(str(self["config"])))
    self.config = dataclasses.replace(config, dtype=dtype)
    # Without initial values, which the file's replace.
    self.model = nnx.eval_shape(lambda: make_network(self.config, rngs=nnx.Rngs(0)))
    self.state = self.group("state/")
    self.unused = torch_weights.load_state_dict(self.model, self.state)
    self.clips = jnp.asarray(self["input"].transpose(0, 4, 2, 3, 1), dtype)
    self.labels = jnp.asarray(self["labels"])

  def __getitem__(self, name: str) -> np.ndarray:
    return self.arrays[name]

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in self.arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): self[name] for name in names}

  def evaluate(self):
    """Logits, and features as published, [batch · person, channel, frame, joint]."""
    self.model.eval()
    graphdef, state = nnx.split(self.model)

    def run(state, clips):
      model = nnx.merge(graphdef, state)
      return model(clips), model.features(clips)

    logits, features = jax.jit(run, compiler_options=QUICK)(state, self.clips)
    features = jnp.transpose(features, (0, 1, 4, 2, 3))
    return logits, features.reshape(-1, *features.shape[2:])

  def train(self):
    """Three steps: losses, the first step's logits and gradients, the state after the third."""
    self.model.train()
    graphdef, *variables = nnx.split(self.model, nnx.Param, nnx.BatchStat)
    params, stats = map(nnx.to_pure_dict, variables)
    optimizer = optax.chain(
      optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9, nesterov=True)
    )

    def loss(params, stats):
      model = nnx.merge(graphdef, params, stats)
      model.train()
      logits = model(self.clips)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, self.labels)
      return losses.mean(), (logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def step(params, stats, momentum):
      (loss_value, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params, stats)
      updates, momentum = optimizer.update(grads, momentum, params)
      return loss_value, logits, grads, optax.apply_updates(params, updates), stats, momentum

    momentum = optimizer.init(params)
    losses = []
    for i in range(3):
      loss_value, logits, grads, params, stats, momentum = step(params, stats, momentum)
      losses.append(loss_value)
      if i == 0:
        first_logits, first_grads = logits, self._named(grads)
    return np.array(losses), first_logits, first_grads, self._named(params, stats)

  def _named(self, params, stats=None) -> dict[str, np.ndarray]:
    """Variables, or gradients in their place, under the published names."""
    for kind, values in ((nnx.Param, params), (nnx.BatchStat, stats)):
      if values is not None:
        state = nnx.state(self.model, kind)
        nnx.replace_by_pure_dict(state, values)
        nnx.update(self.model, state)
    return torch_weights.state_dict(self.model)
