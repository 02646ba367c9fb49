"""MST-GCN and its neighbours for skeleton-based action recognition, in JAX and Flax.

    import mstgcn_jax as mst

    run = mst.evaluate("runs/quickstart")  # figures, scores, per class
    classify = mst.Classifier("runs/quickstart")  # joints in, probabilities out
    model = mst.MSTGCN(mst.ModelConfig(num_classes=60), rngs=nnx.Rngs(0))

What is named here is loaded when it is first used; only training and evaluation import TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mstgcn_jax import moved as _moved

__version__ = "0.2.0"

# Name -> the module that has it, or that it is.
_PUBLIC = {
  "Classifier": "mstgcn_jax.use.classifier",
  "Evaluation": "mstgcn_jax.use.evaluate",
  "MSTGCN": "mstgcn_jax.model",
  "ModelConfig": "mstgcn_jax.model",
  "Stream": "mstgcn_jax.use.stream",
  "adjacency": "mstgcn_jax.graph",
  "config": "mstgcn_jax.training.config",
  "evaluate": "mstgcn_jax.use.evaluate",
  "graph": "mstgcn_jax.graph",
  "load_model": "mstgcn_jax.training.checkpoints",
  "make_network": "mstgcn_jax.model",
  "open_data_set": "mstgcn_jax.data.data_set",
  "skeletons": "mstgcn_jax.skeletons",
  "torch_weights": "mstgcn_jax.torch_weights",
  "train": "mstgcn_jax.training.loop",
}
__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
  from mstgcn_jax import graph, skeletons, torch_weights
  from mstgcn_jax.data.data_set import open_data_set
  from mstgcn_jax.graph import adjacency
  from mstgcn_jax.model import MSTGCN, ModelConfig, make_network
  from mstgcn_jax.training import config
  from mstgcn_jax.training.checkpoints import load_model
  from mstgcn_jax.training.loop import train
  from mstgcn_jax.use.classifier import Classifier
  from mstgcn_jax.use.evaluate import Evaluation, evaluate
  from mstgcn_jax.use.stream import Stream


def __getattr__(name: str) -> Any:
  if name not in _PUBLIC:
    raise AttributeError(f"module 'mstgcn_jax' has no attribute {name!r}")
  module = importlib.import_module(_PUBLIC[name])
  globals()[name] = value = getattr(module, name, module)
  return value


def __dir__() -> list[str]:
  return sorted(__all__)


_moved.install()
