"""NTU RGB+D 60, joint stream, cross-view: the published recipe (Chen et al., AAAI 2021).

Cross-subject: --config.data.protocol=xsub. Another stream: --config.streams="('bone',)".
"""

from mstgcn_jax import config


def get_config():
  return config.default()
