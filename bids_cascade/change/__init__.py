"""Two visits of one participant compared: arrays and images in, changed lesions with their noise out.

It may import imaging, lesions, cascade and fields of synthesis; it knows no paths and no datasets.
"""
