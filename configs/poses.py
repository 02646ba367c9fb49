"""A pose estimator's output: a folder per class, in it a file or folder per clip.

    mstgcn prepare poses --raw MY_FOLDER --out data
    mstgcn train --config poses

Works as it is for OpenPose, AlphaPose, MMPose, RTMPose, COCO, Ultralytics and MediaPipe: classes,
joints and channels are the data's. All else is as in own_recordings.py, which explains it, with a
third of its steps.
"""

from mstgcn_jax import config


def get_config():
  c = config.load("own_recordings")
  c.data.name = "poses"  # or what you gave to data_prep as --name

  # Single clips are drawn for the test: accuracy comes out higher than on people never seen. With a
  # column `subject` in a CSV take kfold:column=subject,k=3; with folders train/ and val/, given.
  c.data.protocol = "kfold:column=name,k=5,fold=0"
  c.data.num_persons = 1  # 2 for what people do together

  # Places in the picture are not centred. For joints in 3-D of h36m and hands, which are, take
  # "first_frame" and True; MediaPipe's body has no joint to centre at.
  c.data.center = "frame"
  c.data.body_size = False

  c.batch_size = 16
  c.eval_batch_size = 16
  c.epochs = 48  # 1,488 steps or more
  c.optimizer.warmup_epochs = 4
  return c
