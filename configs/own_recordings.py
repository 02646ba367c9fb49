"""Your own recordings: copy this file, change what differs, and train.

    mstgcn prepare own --raw MY_FOLDER --out data
    mstgcn train --config own_recordings.py

MY_FOLDER holds one .npy per clip, [frame, joint, channel] or [person, frame, joint, channel]; a CSV
with the columns name, label and, if you know it, subject; and a skeleton.json, if your joints are
none of the known layouts. Classes, joints and channels are the data's: nothing here names them.
Every line can be overridden for one run: --config.data.window=128 (with --workdir, to keep both).
"""

from mstgcn_jax.training import config


def get_config():
  c = config.default()
  c.data.name = "own"  # or what you gave to data_prep as --name

  # Who is tested. kfold puts whole subjects into k groups at random and tests on one of them
  # (fold=0 to k-1), so k can be as many as your subjects. Further choices:
  #   leave_one_out:column=subject,value=3   tests on that one
  #   given                                  your CSV has a column `split` of train and val
  #   kfold:column=name,k=5                  you don't know who is who: single clips are drawn, and
  #                                          accuracy comes out higher than on people never seen
  c.data.protocol = "kfold:column=subject,k=3,fold=0"

  # What the network sees. `uniform` takes one frame from each of `window` equal parts of a clip, so
  # the whole clip, however long; shorter ones are repeated. `mstgcn info data/own` prints how long
  # yours are.
  c.data.window = 64
  c.data.sampling = "uniform"
  c.data.num_persons = 1  # the first ones of a clip; for actions between two people, 2

  # A small network, for two CPU cores. Published: 112. With a GPU and thousands of clips, try 64.
  c.model.width = 32  # a multiple of 4

  # Clips per step. Smaller needs a smaller learning rate, too.
  c.batch_size = 16
  c.eval_batch_size = 16
  c.optimizer.learning_rate = 0.1

  # An epoch sees every training clip once. Take more epochs if you have few clips: a thousand steps
  # (training clips / batch_size * epochs) are a fair start. The learning rate warms up and then
  # falls to 0 along a cosine, ending with the last epoch.
  c.epochs = 50
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 5

  # Random changes of the training clips; worth trying where clips are few.
  c.augment.rotation = (0.0, 0.0, 0.0)  # (0.0, 0.0, 0.3): by up to 0.3 rad (17°) about the vertical
  c.augment.scale = (1.0, 1.0)  # (0.9, 1.1): smaller or larger by up to a tenth
  c.augment.mirror = 0.0  # 0.5: half of them in a mirror (skeleton.json then needs `mirror` pairs)
  c.augment.dimensions = 3  # 2 if your channels are x, y or x, y, score

  # What it sees of the joints; several are trained side by side and fused. Others: joint_motion,
  # bone_motion.
  c.streams = ("joint",)
  return c
