"""XLA flags for programs that are compiled more often than run, as most of these tests are."""

import jax

FLAGS = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # newer ones have the new emitters only
  FLAGS += " --xla_cpu_use_fusion_emitters=false"
