"""ANTsPy, loaded as this app wants it: for the process that workers are forked from, which is told names of modules."""

from bids_cascade.imaging.images import load_ants

load_ants()
