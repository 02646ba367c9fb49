"""Runs a golden file's network here: what its tests, in float32 and in float64, compare."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from golden import golden

from mstgcn_jax import torch_weights
from mstgcn_jax.model import abstract_network, platform
from mstgcn_jax.model.activations import PLAIN, relu_of_sum


def relative_error(a, b) -> float:
  """‖a − b‖ / ‖b‖."""
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _here(function: Callable) -> Callable:
  """The function, in the forms for this machine's devices alone."""

  @functools.wraps(function)
  def within(*args):
    with platform.of(jax.devices()[0]):
      return function(*args)

  return within


class Reference:
  """One golden file: the published code's arrays (`self[...]`), and our network with its state."""

  def __init__(self, name: str, dtype: str = "float32"):
    self.arrays = np.load(golden(f"{name}.npz"))
    config = torch_weights.config_from_reference(json.loads(str(self["config"])))
    self.config = dataclasses.replace(config, dtype=dtype)
    # Without initial values, which the file's replace.
    self.model = abstract_network(self.config)
    self.state = self.group("state/")
    self.unused = torch_weights.load_state_dict(self.model, self.state)
    self.clips = jnp.asarray(self["input"].transpose(0, 4, 2, 3, 1), dtype)
    self.labels = jnp.asarray(self["labels"])

  def __getitem__(self, name: str) -> np.ndarray:
    return self.arrays[name]

  def __contains__(self, name: str) -> bool:
    return name in self.arrays

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in self.arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): self[name] for name in names}

  def evaluate(self):
    """Logits, and features as published, [batch · person, channel, frame, joint]."""
    self.model.eval()
    graphdef, state = nnx.split(self.model)

    @_here
    def run(state, clips):
      model = nnx.merge(graphdef, state)
      return model(clips), model.features(clips)

    logits, features = jax.jit(run)(state, self.clips)
    features = jnp.transpose(features, (0, 1, 4, 2, 3))
    return logits, features.reshape(-1, *features.shape[2:])

  def first_step(self):
    """Logits and loss of the first step of training."""
    self.model.train()
    graphdef, state = nnx.split(self.model)
    logits = jax.jit(_here(lambda state, x: nnx.merge(graphdef, state)(x)))(state, self.clips)
    return logits, self._loss(logits)

  def train(self, flipped: Sequence[float] = ()):
    """Three steps of the published code's optimiser: SGD, in NumPy, which compiles nothing.

    Args:
      flipped: inputs of ReLUs which the published code rounded to the other side of 0.

    Returns:
      Losses; logits and gradients of the first step; the state after the third, the latter two
      under the published names.
    """
    self.model.train()
    if flipped:
      _flip_relus(self.model, flipped)
    graphdef, *variables = nnx.split(self.model, nnx.Param, nnx.BatchStat)
    params, stats = map(nnx.to_pure_dict, variables)

    def loss(params, stats):
      model = nnx.merge(graphdef, params, stats)
      model.train()
      logits = model(self.clips)
      return self._loss(logits), (logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

    step = jax.jit(_here(jax.value_and_grad(loss, has_aux=True)))
    decayed = lambda grad, value: np.asarray(grad) + 1e-4 * value
    moved = lambda value, grad, momentum: value - 0.05 * (grad + 0.9 * momentum)  # Nesterov's
    params = jax.tree.map(np.asarray, params)
    momentum = jax.tree.map(np.zeros_like, params)
    losses = []
    for i in range(3):
      (loss_value, (logits, stats)), grads = step(params, stats)
      losses.append(loss_value)
      direction = jax.tree.map(decayed, grads, params)
      momentum = jax.tree.map(lambda m, d: 0.9 * m + d, momentum, direction)
      params = jax.tree.map(moved, params, direction, momentum)
      if i == 0:
        first_logits, first_grads = logits, self.named(grads)
    return np.array(losses), first_logits, first_grads, self.named(params, stats)

  def _loss(self, logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, self.labels).mean()

  def named(self, params, stats=None) -> dict[str, np.ndarray]:
    """Variables, or gradients in their place, under the published names."""
    for kind, values in ((nnx.Param, params), (nnx.BatchStat, stats)):
      if values is not None:
        state = nnx.state(self.model, kind)
        nnx.replace_by_pure_dict(state, values)
        nnx.update(self.model, state)
    return torch_weights.state_dict(self.model)


def assert_comes_back(reference: Reference) -> None:
  """Asserts that the state dict of our network is the one that it was given."""
  back = torch_weights.state_dict(reference.model)
  assert back.keys() == reference.state.keys()
  for key, value in reference.state.items():
    assert (back[key].shape, back[key].dtype) == (value.shape, value.dtype), key
    if key not in reference.unused and not key.endswith("num_batches_tracked"):
      np.testing.assert_array_equal(back[key], value, err_msg=key)


def _flip_relus(model: nnx.Module, inputs: Sequence[float]) -> None:
  """Gives ReLUs at these inputs, to 1e-10, the derivative of the other side of 0."""

  def relu(x):
    flips = functools.reduce(jnp.logical_or, (jnp.abs(x - value) < 1e-10 for value in inputs))
    sloped = jnp.where((x > 0) ^ flips, x, 0)
    return jnp.maximum(jax.lax.stop_gradient(x), 0) + sloped - jax.lax.stop_gradient(sloped)

  for _, module in list(nnx.iter_modules(model)):
    if getattr(module, "activation", None) in (PLAIN["relu"], relu_of_sum):
      module.activation = functools.partial(jax.tree.map, relu)


def gradient_errors(grads, expected) -> dict[str, float]:
  """Relative error of every gradient.

  The true gradient of many biases is 0, because a normalisation follows; the reference holds
  rounding noise there, up to 1.4e-6 of its weights' gradients. A bias whose gradient is 0 here is
  therefore compared against 2 % of the largest gradient of a weight in its layer.
  """
  layer = lambda name: ".".join(name.split(".")[:3] if "layers" in name else name.split(".")[:-1])
  norms = {name: float(np.linalg.norm(value)) for name, value in expected.items()}
  largest: dict[str, float] = {}
  for name, norm in norms.items():
    if name.endswith("weight"):
      largest[layer(name)] = max(largest.get(layer(name), 0.0), norm)
  errors = {}
  for name, value in expected.items():
    norm = norms[name]
    if name.endswith("bias") and np.linalg.norm(grads[name]) < 2e-6 * largest[layer(name)]:
      norm = max(norm, 2e-2 * largest[layer(name)])
    errors[name] = float(np.linalg.norm(grads[name] - value)) / norm
  return errors
