"""Initial values of a whole network, where its publication draws them otherwise than layers do.

Layers start as MST-GCN's, 2s-AGCN's and CTR-GCN's: convolutions from N(0, 2 / (outputs · kernel
elements)) (He et al. 2015), biases 0, norms 1 and 0, and what a layer itself says. `redraw` changes
that to

  he                     nothing
  normal                 convolutions, classifier N(0, 0.02²), biases 0, norms N(1, 0.02²): ST-GCN
  torch                  PyTorch's defaults, U(±1/√inputs); classifier N(0, 0.01²), 0: PYSKL's
  he, torch at the ends  that for the blocks' shortcuts and the classifier: its AAGCN and CTR-GCN
"""

import math

import jax
from flax import nnx

from mstgcn_jax.model import draws
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import DepthwiseGraphConv, GraphConv
from mstgcn_jax.model.temporal import TemporalConv

_CONVOLUTIONS = (GraphConv, DepthwiseGraphConv, TemporalConv)


def redraw(network: nnx.Module, scheme: str, *, rngs: nnx.Rngs) -> None:
  """Changes a network's parameters to the scheme's initial values (see above)."""
  if scheme == "normal":
    _draw_normal(network, rngs)
  elif scheme != "he":
    parts = [network] if scheme == "torch" else [block.shortcut for block in network.blocks]
    for part in parts:
      _draw_as_torch(part, rngs)
    network.classifier.kernel.set_value(_normal(network.classifier.kernel, 0.01, rngs))
    network.classifier.bias[...] *= 0


def _draw_normal(module: nnx.Module, rngs: nnx.Rngs) -> None:
  for _, part in nnx.iter_modules(module):
    if isinstance(part, _CONVOLUTIONS):
      part.weight.set_value(_normal(part.weight, 0.02, rngs))
    elif isinstance(part, nnx.Linear):
      part.kernel.set_value(_normal(part.kernel, 0.02, rngs))
      if part.bias is not None:
        part.bias[...] *= 0
    elif isinstance(part, BatchNorm):
      part.weight.set_value(1 + _normal(part.weight, 0.02, rngs))


def _draw_as_torch(module: nnx.Module, rngs: nnx.Rngs) -> None:
  for _, part in nnx.iter_modules(module):
    if isinstance(part, _CONVOLUTIONS):
      inputs = _inputs(part)
      for variable in (part.weight, part.bias):
        draw = draws.uniform(draws.key(rngs), variable.shape, variable.dtype, bound=inputs**-0.5)
        variable.set_value(draw)


def _inputs(conv: nnx.Module) -> int:
  """Number of values that one output of a convolution is a sum of, as PyTorch counts them."""
  if isinstance(conv, DepthwiseGraphConv):
    return 1
  shape = conv.weight.shape  # [K, inputs, outputs] or [kernel, inputs, outputs]
  return shape[1] if type(conv) is GraphConv else math.prod(shape[:2])


def _normal(variable: nnx.Variable, std: float, rngs: nnx.Rngs) -> jax.Array:
  return draws.normal(draws.key(rngs), variable.shape, variable.dtype, std=std)
