"""A pose estimator's output: a folder a class, in it a file or folder per clip.

    mstgcn prepare poses --raw MY_FOLDER --out data
    mstgcn train --config poses

Works as it is for OpenPose, AlphaPose, MMPose, RTMPose, COCO, Ultralytics and MediaPipe: classes,
joints and channels are the data's. configs/own_recordings.py explains most lines below; its recipe
was chosen on joints in 3-D, this one is simpler.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "poses"  # or what you gave to data_prep as --name

  # Single clips are drawn for the test: accuracy comes out higher than on people never seen. With a
  # column `subject` in a CSV take kfold:column=subject,k=3; with folders train/ and val/, given.
  c.data.protocol = "kfold:column=name,k=5,fold=0"
  c.data.window = 64
  c.data.sampling = "uniform"
  c.data.num_persons = 1  # 2 for what people do together

  c.model.width = 32
  c.batch_size = 16
  c.eval_batch_size = 16
  c.optimizer.learning_rate = 0.1
  c.epochs = 50
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 5
  c.augment.dimensions = 2  # x and y; the third channel is a score. World coordinates: 3
  return c
