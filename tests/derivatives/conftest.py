"""The small BIDS trees of the dataset's tests."""

from ..dataset.conftest import make_raw, make_tree, write_scan

__all__ = ["make_raw", "make_tree", "write_scan"]
