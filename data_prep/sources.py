"""The sources that `python -m data_prep` knows; see source.py for how to write another."""

from data_prep import ntu, utd_mhad
from data_prep.source import Source

_ALL = (
  Source("ntu60", "NTU RGB+D, 60 classes: a folder of .skeleton files", ntu.open_ntu60,
         ntu.add_arguments),
  Source("utd_mhad", "UTD-MHAD: the Skeleton folder of .mat files", utd_mhad.open_raw),
)  # fmt: skip

SOURCES = {source.name: source for source in _ALL}
