"""XLA flags for programs that are compiled more often than run, as most of these tests are."""

import jax

# Two test processes share two cores: a program in parts is more work, and no sooner there.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # newer ones have the new emitters only
  FLAGS += " --xla_cpu_use_fusion_emitters=false"
