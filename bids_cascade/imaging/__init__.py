"""One image in, one image out: NIfTI files, grids, brain masks, bias fields and rigid registration."""
