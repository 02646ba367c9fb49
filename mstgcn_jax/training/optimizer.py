"""Optimisers, learning-rate schedules and what is decayed or held fixed."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mstgcn_jax.errors import ConfigError

# The name under which a spatial layer holds its learned adjacency (PA in the paper).
LEARNED_ADJACENCY = "learned_adjacency"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """Options of the optimiser; the defaults are the published recipe (Chen et al. 2021).

  Attributes:
    name: 'sgd' (Nesterov momentum, L2 in the gradient), 'adam' (L2 in the gradient) or 'adamw'
      (decoupled decay).
    learning_rate: peak value, for a global batch of `reference_batch_size`.
    reference_batch_size: scales the learning rate by batch size / this; 0 leaves it as it is.
    weight_decay: strength; `decay_mask` says of what: 'all' parameters (the reference) or only
      the 'weights' of convolutions and classifier (not biases, BatchNorm, learned adjacency).
    schedule: 'step' multiplies by `decay_factor` at each of `decay_epochs`; 'cosine' falls to 0
      at the end. Both warm up linearly by epoch: learning_rate · (epoch + 1) / warmup.
    clip_norm: largest global norm of the gradient; 0 is no limit.
    accumulate: micro-batches per step; gradients are averaged, BatchNorm sees each on its own.
    ema: decay of the running average of the parameters used in evaluation, with BatchNorm's
      running statistics as they are; 0 uses the parameters themselves.
    freeze_adjacency_through: every learned adjacency stays fixed (weight decay and momentum
      included) in epochs 0 to this one; -1 freezes none.
  """

  name: str = "sgd"
  learning_rate: float = 0.15
  reference_batch_size: int = 0
  momentum: float = 0.9
  nesterov: bool = True
  weight_decay: float = 1e-4
  decay_mask: str = "all"
  schedule: str = "step"
  warmup_epochs: int = 10
  decay_epochs: tuple[int, ...] = (50, 70, 90)
  decay_factor: float = 0.1
  clip_norm: float = 0.0
  accumulate: int = 1
  ema: float = 0.0
  freeze_adjacency_through: int = -1

  def __post_init__(self):
    for field, allowed in (
      ("name", ("sgd", "adam", "adamw")),
      ("decay_mask", ("all", "weights")),
      ("schedule", ("step", "cosine")),
    ):
      if getattr(self, field) not in allowed:
        raise ConfigError(f"optimizer.{field} is {getattr(self, field)!r}; allowed: {allowed}")
    if not 0 < self.learning_rate < math.inf:
      raise ConfigError(f"optimizer.learning_rate is {self.learning_rate}; it must be above 0")
    for field in ("momentum", "ema"):
      if not 0 <= getattr(self, field) < 1:
        raise ConfigError(f"optimizer.{field} is {getattr(self, field)}; it must lie in [0, 1)")
    if self.accumulate < 1:
      raise ConfigError(f"optimizer.accumulate is {self.accumulate}; it must be at least 1")
    for field in ("reference_batch_size", "weight_decay", "warmup_epochs", "clip_norm"):
      if not 0 <= getattr(self, field) < math.inf:
        raise ConfigError(f"optimizer.{field} is {getattr(self, field)}; it must not be negative")
    if not 0 < self.decay_factor <= 1:
      raise ConfigError(f"optimizer.decay_factor is {self.decay_factor}; it must lie in (0, 1]")
    if self.freeze_adjacency_through >= 2**31:
      raise ConfigError("optimizer.freeze_adjacency_through must be below 2**31")
    epochs = self.decay_epochs
    whole = all(type(epoch) is int and 0 <= epoch < 2**31 for epoch in epochs)
    if not whole or len(set(epochs)) < len(epochs):
      raise ConfigError(
        f"optimizer.decay_epochs is {epochs}; it must be whole numbers from 0, each once"
      )

  @property
  def knows_its_end(self) -> bool:
    """Whether the learning rate depends on how many epochs there are."""
    return self.schedule == "cosine"


def learning_rate(
  config: OptimizerConfig, *, steps_per_epoch: int, epochs: int, batch_size: int
) -> Callable[[jax.Array], jax.Array]:
  """The learning rate as a function of the step (a traced or concrete integer)."""
  peak = config.learning_rate
  if config.reference_batch_size:
    peak *= batch_size / config.reference_batch_size
  warmup = config.warmup_epochs

  def at(step):
    epoch = step // steps_per_epoch
    if config.schedule == "step":
      passed = jnp.sum(epoch >= jnp.asarray(config.decay_epochs, jnp.int32))
      after = config.decay_factor**passed
    else:
      start, end = warmup * steps_per_epoch, epochs * steps_per_epoch
      progress = jnp.clip((step - start) / max(1, end - start), 0, 1)
      after = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return peak * jnp.where(epoch < warmup, (epoch + 1) / max(1, warmup), after)

  return at


def is_learned_adjacency(path: tuple[Any, ...]) -> bool:
  """Whether a tree path (of parameters, gradients or optimiser state) leads to a PA."""
  return _leads_to(LEARNED_ADJACENCY, path)


def _leads_to(name: str, path: tuple[Any, ...]) -> bool:
  # Of an `nnx.State`, whose variables have a value, the name is not the last entry.
  return any(getattr(entry, "key", None) == name for entry in path)


def _is_weight(path, value) -> bool:
  # Flax's attention has biases of two axes, [head, channel].
  return value.ndim >= 2 and not _leads_to("bias", path) and not is_learned_adjacency(path)


def make_optimizer(
  config: OptimizerConfig, schedule: Callable[[jax.Array], jax.Array]
) -> optax.GradientTransformation:
  """The optax transformation for a config and its learning-rate schedule."""
  mask = None
  if config.decay_mask == "weights":
    mask = lambda params: jax.tree_util.tree_map_with_path(_is_weight, params)
  decay = optax.add_decayed_weights(config.weight_decay, mask)
  adam = optax.scale_by_adam()
  if config.freeze_adjacency_through >= 0:  # whose moments are counted apart, and stand still
    adam = optax.partition({LEARNED_ADJACENCY: adam, "others": adam}, _frozen_or_other)
  steps = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
  if config.name == "sgd":
    steps += [decay, optax.trace(config.momentum, config.nesterov)]
  elif config.name == "adam":
    steps += [decay, adam]
  else:
    steps += [adam, decay]
  return optax.chain(*steps, optax.scale_by_learning_rate(schedule))


def _frozen_or_other(params: Any) -> Any:
  label = lambda path, _: LEARNED_ADJACENCY if is_learned_adjacency(path) else "others"
  return jax.tree_util.tree_map_with_path(label, params)


def without_learned_adjacency(frozen: jax.Array, grads: Any) -> Any:
  """`grads` with 0 for every learned adjacency where `frozen`: no part of their norm then."""
  return keep_learned_adjacency(frozen, grads, jax.tree.map(jnp.zeros_like, grads))


def keep_learned_adjacency(frozen: jax.Array, new: Any, old: Any) -> Any:
  """`new`, with every learned adjacency (or its momentum) taken from `old` where `frozen`.

  A parameter without gradient is skipped altogether by the reference's optimiser, so weight
  decay and momentum have to stand still too; masking its gradient would not do that.
  """

  def keep(path, a, b):
    return jnp.where(frozen, b, a) if is_learned_adjacency(path) else a

  return jax.tree_util.tree_map_with_path(keep, new, old)
