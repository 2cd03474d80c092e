"""One image in, one image out: files, grids, brain masks, bias, registration. May import config and file helpers."""
