"""The sources that `mstgcn prepare` knows; readers/interface.py says how to write another."""

from data_prep.readers import (
  annotations,
  arrays,
  exchange,
  jhmdb,
  kinetics,
  msr_action3d,
  ntu,
  nw_ucla,
  own,
  poses,
  shrec17,
  utd_mhad,
  utkinect,
)
from data_prep.readers.interface import Source
from data_prep.synthetic import skeleton_files

_ALL = (
  Source("ntu60", "NTU RGB+D, 60 classes: a folder of .skeleton files", ntu.open_ntu60,
         ntu.add_arguments),
  Source("ntu120", "NTU RGB+D 120: a folder of .skeleton files", ntu.open_ntu120,
         ntu.add_arguments),
  Source("kinetics", "Kinetics-skeleton: the folder of kinetics_train and kinetics_val",
         kinetics.open_raw),
  Source("synthetic", "stick people, written into --raw first: for a quick start",
         skeleton_files.open_raw, skeleton_files.add_arguments, makes_raw=True),
  Source("utd_mhad", "UTD-MHAD: the Skeleton folder of .mat files", utd_mhad.open_raw),
  Source("nw_ucla", "Northwestern-UCLA Multiview Action 3D: a folder of .json files",
         nw_ucla.open_raw),
  Source("utkinect", "UTKinect-Action3D: the folder of joints_*.txt and actionLabel.txt",
         utkinect.open_raw, labelled=True),
  Source("shrec17_14", "SHREC'17 hand gestures, 14 classes: the folder of train_gestures.txt",
         shrec17.open_14, labelled=True),
  Source("shrec17_28", "SHREC'17 hand gestures, 28 classes: the folder of train_gestures.txt",
         shrec17.open_28, labelled=True),
  Source("msr_action3d", "MSR-Action3D: the folder of *_skeleton3D.txt", msr_action3d.open_raw,
         labelled=True),
  Source("jhmdb", "JHMDB in 2-D: the folder of DD-Net's GT_*.pkl", jhmdb.open_raw,
         labelled=True),
  Source("pyskl", "PYSKL or MMAction2 annotations: a .pkl file, or a folder of them",
         annotations.open_raw, exchange.add_turning_arguments),
  Source("agcn", "ST-GCN, 2s-AGCN or MST-GCN arrays: a folder of *_data_joint.npy and *_label.pkl",
         arrays.open_agcn, exchange.add_arguments, labelled=True),
  Source("ctrgcn", "CTR-GCN archive: a .npz file", arrays.open_ctrgcn, exchange.add_arguments,
         labelled=True),
  Source("own", "your own recordings: a folder of .npy clips and a CSV", own.open_raw,
         exchange.add_turning_arguments),
  Source("poses",
         "pose estimators' output: OpenPose, AlphaPose, MMPose, COCO, Ultralytics, MediaPipe",
         poses.open_raw, poses.add_arguments),
)  # fmt: skip

SOURCES = {source.name: source for source in _ALL}
