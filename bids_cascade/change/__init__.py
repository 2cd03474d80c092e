"""Two visits of one participant held against each other: arrays and images in, changed lesions with their noise out.

It may import imaging, lesions, cascade and fields of synthesis; paths and data sets are unknown to it.
"""
