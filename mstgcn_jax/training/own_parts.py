"""What a config names of one's own, its network, layers and loss: tried once before training."""

import contextlib
import hashlib
from collections.abc import Iterator

import jax
from flax import nnx
from jax.errors import JaxRuntimeError

from mstgcn_jax.errors import ConfigError, first_line, line_in
from mstgcn_jax.model import ModelConfig, abstract_network, own
from mstgcn_jax.model.config import own_code
from mstgcn_jax.training import train_step


def network(config: ModelConfig, window: int) -> nnx.Module:
  """As `abstract_network`, where code of one's own makes it, tried on a clip.

  Raises:
    ConfigError: that code fails, layers of one's own and the others don't fit together, or a
      network of one's own gives no logits.
  """
  clips = _clips(1, config, window)
  name = own_code(config)
  named = f"model.{'network' if ':' in config.network else 'block_type'} {name!r}"

  def evaluate(model, clips):
    model.eval()  # nnx.MultiHeadAttention, for one, has to be told which mode it is in
    return model(clips)

  because = lambda error: _because(error, modules(config))
  try:
    model = abstract_network(config)
  except ConfigError:
    raise
  except Exception as error:  # whatever a layer of somebody else's raises
    raise ConfigError(f"{named} cannot be made {because(error)}") from error
  try:
    hash(train_step.split_model(model)[0])  # compiled steps are found by it
  except TypeError as error:
    raise ConfigError(
      f"{named} has an attribute that is neither a module, a variable nor hashable "
      f"{because(error)}; {train_step.KEPT_AS_IT_IS}"
    ) from error
  try:
    logits = nnx.eval_shape(evaluate, model, clips)
  except Exception as error:
    raise ConfigError(
      f"{named}: the layers don't fit together {because(error)}. A spatial layer takes [clip, "
      "joint, frame, in_channels] to out_channels; a temporal one keeps out_channels and every "
      "stride-th frame; a network takes [batch, person, frame, joint, channel] to [batch, class]"
    ) from error
  if getattr(logits, "shape", None) != (1, config.num_classes):
    raise ConfigError(
      f"{named} gives {getattr(logits, 'shape', logits)} for one clip; logits of "
      f"{config.num_classes} classes have the shape (1, {config.num_classes})"
    )
  return model


def loss(name: str, model: nnx.Module, config: ModelConfig, window: int) -> train_step.Loss:
  """The loss of one's own that a config names, tried on two clips.

  Args:
    name: 'package.module:function'.
    model: from `abstract_network`.
  Raises:
    ConfigError: it cannot be imported, fails, or gives something else than `cross_entropy` does.
  """
  function = own.function(f"loss names {name!r}, which cannot be", name)
  clips = _clips(2, config, window)
  targets = jax.ShapeDtypeStruct((2, config.num_classes), "float32")

  def evaluate(model, clips, targets):
    model.train()
    value, logits = function(model, clips, targets, jax.random.key(0))
    return value, logits

  expected = "it takes (model, clips, targets [clip, class], key) to (loss, logits [clip, class])"
  try:
    value, logits = nnx.eval_shape(evaluate, model, clips, targets)
  except Exception as error:  # whatever a loss of somebody else's raises
    raise ConfigError(
      f"loss {name!r} fails {_because(error, [own.module_of(name)])}; {expected}"
    ) from error
  shapes = [getattr(given, "shape", given) for given in (value, logits)]
  if shapes != [(), (2, config.num_classes)]:
    raise ConfigError(
      f"loss {name!r} gives {shapes[0]} and {shapes[1]} for two clips of {config.num_classes} "
      f"classes; {expected}, here () and (2, {config.num_classes})"
    )
  return function


@contextlib.contextmanager
def blamed(config: ModelConfig, loss: str) -> Iterator[None]:
  """ConfigError where a step cannot be traced that has parts of one's own: what has no gradient."""
  try:
    yield
  except JaxRuntimeError:  # of the device
    raise
  except Exception as error:
    names = [name for name in (own_code(config), loss) if name]
    if not names:
      raise
    because = _because(error, modules(config, loss))
    raise ConfigError(f"{' and '.join(names)} cannot be trained {because}") from error


def _because(error: Exception, code: list[str]) -> str:
  """In brackets: the line of one's own modules where it was, if it was there, and what it is."""
  place = line_in(error, [own.file(name) for name in code])
  return f"({place}{': ' if place else ''}{type(error).__name__}: {first_line(error)})"


def _clips(count: int, config: ModelConfig, window: int) -> jax.ShapeDtypeStruct:
  shape = (count, config.num_persons, window, config.skeleton.num_joints, config.in_channels)
  return jax.ShapeDtypeStruct(shape, "float32")


def modules(config: ModelConfig, loss: str = "") -> list[str]:
  """Those of the network and its layers, and of a loss."""
  parts = (config.network, *config.block_type.split("/"), loss)
  return [own.module_of(part) for part in parts if ":" in part]


def digest(code: list[str]) -> str:
  """Of the modules' files as they were imported; '' where none was."""
  content = own.as_imported(code)
  return hashlib.blake2b(content, digest_size=16).hexdigest() if content else ""
