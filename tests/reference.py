"""Runs a golden file's network here: what its tests, in float32 and in float64, compare."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from golden import golden

from mstgcn_jax import torch_weights
from mstgcn_jax.model import make_network, platform
from mstgcn_jax.model.activations import PLAIN, RELU_OF_SUM

HERE = platform.of(jax.devices()[0])
# The published code's.
OPTIMIZER = optax.chain(
  optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9, nesterov=True)
)


def relative_error(a, b) -> float:
  """‖a − b‖ / ‖b‖."""
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return float(np.linalg.norm(a - b) / np.linalg.norm(b))


class GoldenFile:
  """One golden file: the published code's arrays (`self[...]`), and our network with its state."""

  def __init__(self, name: str, dtype: str):
    self.arrays = np.load(golden(f"{name}.npz"))
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

  def __contains__(self, name: str) -> bool:
    return name in self.arrays

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in self.arrays.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): self[name] for name in names}

  def evaluate(self):
    """Logits, and features as published, [batch · person, channel, frame, joint]."""
    self.model.eval()
    graphdef, state = nnx.split(self.model)

    @HERE
    def run(state, clips):
      model = nnx.merge(graphdef, state)
      return model(clips), model.features(clips)

    logits, features = jax.jit(run)(state, self.clips)
    features = jnp.transpose(features, (0, 1, 4, 2, 3))
    return logits, features.reshape(-1, *features.shape[2:])

  def named(self, params, stats=None) -> dict[str, np.ndarray]:
    """Variables, or gradients in their place, under the published names."""
    for kind, values in ((nnx.Param, params), (nnx.BatchStat, stats)):
      if values is not None:
        state = nnx.state(self.model, kind)
        nnx.replace_by_pure_dict(state, values)
        nnx.update(self.model, state)
    return torch_weights.state_dict(self.model)


class Reference(GoldenFile):
  """A golden file of MST-GCN."""

  def __init__(self, name: str, dtype: str = "float32"):
    super().__init__(f"model/{name}", dtype)

  def first_step(self):
    """Logits and loss of the first step of training."""
    self.model.train()
    graphdef, state = nnx.split(self.model)
    run = jax.jit(HERE(lambda state, x: nnx.merge(graphdef, state)(x)))
    logits = run(state, self.clips)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, self.labels)
    return logits, losses.mean()

  def train(self, tolerance: float):
    """Three steps of the reference's optimiser.

    Args:
      tolerance: relative error of the gradients at which no more ReLUs at 0 are decided.
    Returns:
      Losses; logits and gradients of the first step; the state after the third, the latter two
      under the reference's names.
    """
    run = Training(self)
    variables = run.params, run.stats

    @jax.jit
    def update(grads, momentum, params):
      updates, momentum = OPTIMIZER.update(grads, momentum, params)
      return optax.apply_updates(params, updates), momentum

    momentum = OPTIMIZER.init(run.params)
    losses = []
    for step in range(3):
      grads, (loss, stats, logits, inputs) = run.gradient(*variables)
      losses.append(loss)
      if step == 0:
        first_logits = logits
        grads = run.decide_kinks(grads, inputs, tolerance)
        first_grads = self.named(grads)
      params, momentum = update(grads, momentum, variables[0])
      variables = params, stats
    return np.array(losses), first_logits, first_grads, self.named(*variables)


class Training:
  """Loss and gradient of a model, with a hand on the input of every ReLU.

  Where the exact input of a ReLU is within float32 rounding of 0, its sign in the reference, and so
  its derivative, is a matter of luck, and one such element in 100,000 moves gradients by up to a
  percent. A 'nudge' is added to a ReLU's input; it moves such elements, and no others, to the other
  side of 0.
  """

  def __init__(self, reference: Reference):
    model = reference.model
    model.train()
    self.reference = reference
    graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
    self.params, self.stats = map(nnx.to_pure_dict, variables)
    self.expected = reference.group("grad/")

    def loss(params, stats, nudges=None):
      inputs = []

      def relu_of_array(x):
        x = x + nudges[len(inputs)] if nudges else x
        inputs.append(x)
        return jnp.where(x > 0, x, 0)

      relu = functools.partial(jax.tree.map, relu_of_array)
      model = nnx.merge(graphdef, params, stats)
      model.train()
      for _, module in list(nnx.iter_modules(model)):
        if getattr(module, "activation", None) in (jax.nn.relu, PLAIN["relu"], RELU_OF_SUM):
          module.activation = relu
      logits = model(reference.clips)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, reference.labels)
      loss = losses.mean()
      return loss, (loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)), logits, inputs)

    gradient = HERE(jax.grad(loss, has_aux=True))
    self.gradient = jax.jit(gradient)
    # Compiled well: some networks run it dozens of times.
    self.trial_gradient = jax.jit(gradient, compiler_options={"xla_backend_optimization_level": 3})

  def decide_kinks(self, grads, inputs, tolerance: float):
    """Gradients, once the ReLUs at 0 are decided as the reference's rounding decided them.

    At most four groups of equal elements are decided, each the one that helps most.
    """
    inputs = [np.asarray(x) for x in inputs]
    nudges = [np.zeros_like(x) for x in inputs]
    groups: dict = {}
    for i, x in enumerate(inputs):
      for index in map(tuple, np.argwhere(np.abs(x) < 2e-5)):
        # An absent person's frames are alike, so that several elements share their luck.
        nudge = -np.copysign(abs(x[index]) + 3e-5, x[index])
        groups.setdefault((i, round(2e7 * float(x[index]))), []).append((index, nudge))

    def errors(grads):
      return np.array(list(gradient_errors(self.reference.named(grads), self.expected).values()))

    distance = lambda grads: np.mean(np.minimum(errors(grads), 0.1))

    for _ in range(4):
      if np.max(errors(grads)) < tolerance:
        break
      trials = []
      for (i, value), elements in sorted(groups.items(), key=lambda g: abs(g[0][1]))[:24]:
        trial = [nudge.copy() if i == j else nudge for j, nudge in enumerate(nudges)]
        for index, nudge in elements:
          trial[i][index] = nudge
        found = self.trial_gradient(self.params, self.stats, trial)[0]
        trials.append((distance(found), (i, value), trial, found))
      if not trials:
        break
      best, key, trial, found = min(trials, key=lambda t: t[0])
      if best > 0.9 * distance(grads):
        break
      nudges, grads = trial, found
      del groups[key]
    return grads


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
