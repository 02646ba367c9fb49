"""Your own recordings: copy this file, change what differs, and train.

    mstgcn prepare own --raw MY_FOLDER --out data
    mstgcn train --config own_recordings.py

MY_FOLDER holds one .npy per clip, [frame, joint, channel] or [person, frame, joint, channel]; a CSV
with the columns name, label and, if you know it, subject; and a skeleton.json, if your joints are
none of the known layouts. Classes, joints and channels are the data's: nothing here names them.
Every line can be overridden for one run: --config.data.window=128 (with --workdir, to keep both).

This is the project's recipe for small data, eighty to a few thousand clips. It was chosen on
training subjects of UTD-MHAD and training views of Northwestern-UCLA that were held out, on both
together: joints in 3-D from a depth camera. docs/results.md says what each line brings, and what
the recipe does for poses in the plane.
"""

from mstgcn_jax import config


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

  # What the network sees: `window` frames. In training they are drawn from anywhere in the clip and
  # put in order, in evaluation they are spread evenly; so it is the whole clip, however long.
  # `mstgcn info data/own` prints how long yours are.
  c.data.window = 64
  c.data.sampling = "random_sorted"
  c.data.num_persons = 1  # the first ones of a clip; for actions between two people, 2

  # Where people stand in the first frame is the origin, so that the way they go is seen, and
  # everybody is made equally large. Both do nothing where `data_prep` did not centre the clips.
  c.data.center = "first_frame"
  c.data.body_size = True

  # A small network, for two CPU cores. Published: 112. With a GPU and thousands of clips, try 64.
  c.model.width = 32  # a multiple of 4

  # Clips per step. The learning rate is that of 32 and grows and falls with it.
  c.batch_size = 32
  c.eval_batch_size = 32
  c.optimizer.learning_rate = 0.2
  c.optimizer.reference_batch_size = 32

  # An epoch sees every training clip once, fewer than a thousand as often as makes 31 steps: 4,340
  # steps in all. That takes a GPU minutes and two CPU cores an hour; a quarter of it (epochs 35,
  # warmup_epochs 3) is a fair start. The learning rate warms up over the first twelfth and then
  # falls to 0 along a cosine, ending with the last epoch.
  c.epochs = 140
  c.min_steps_per_epoch = 31
  c.eval_every = 10
  c.optimizer.schedule = "cosine"
  c.optimizer.warmup_epochs = 11

  # Against learning by heart.
  c.optimizer.weight_decay = 4e-4
  c.label_smoothing = 0.1
  c.mixup = 0.2

  # Random changes of the training clips. With dimensions 0 what your clips do not allow is left
  # out, and said at the start: mirroring where skeleton.json has no `mirror` pairs, rotation about
  # x and y where channels are x and y, or x, y and score.
  c.augment.rotation = (0.3, 0.3, 0.3)  # by up to 0.3 rad (17°) about each axis
  c.augment.scale = (0.9, 1.1)  # smaller or larger by up to a tenth
  c.augment.shear = 0.3
  c.augment.joint_dropout = 0.1
  c.augment.frame_dropout = 0.1
  c.augment.mirror = 0.5  # half of them; 0.0 where it matters whether it was the left or the right
  c.augment.dimensions = 0

  # What it sees of the joints; several are trained side by side and fused. Others: joint_motion,
  # bone_motion.
  c.streams = ("joint",)
  return c
