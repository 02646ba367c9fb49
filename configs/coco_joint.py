"""COCO's 17 key points in 2-D from a PYSKL or MMAction2 pickle, here NTU RGB+D 60's, cross-subject.

    mstgcn prepare pyskl --raw ntu60_hrnet.pkl --out data
    mstgcn train --config coco_joint

The split comes from the pickle: `xsub_train` and `xsub_val` there are column `split_xsub` here,
`train` and `val` are --config.data.protocol=given. A clip is seen as one frame from each of 100
equal segments (Duan et al., PYSKL, 2022); --config.data.views=10 averages ten such views of it. For
hundreds of clips instead of tens of thousands: --config poses --config.data.name=pyskl.
"""

from mstgcn_jax import config


def get_config():
  c = config.default()
  c.data.name = "pyskl"  # or what you gave to data_prep as --name
  c.data.protocol = "given:column=split_xsub"
  c.data.window = 100
  c.data.sampling = "uniform"
  c.augment.dimensions = 2  # x and y; the third channel is a score
  return c
