"""The small datasets of the levels' tests."""

from ..levels.conftest import sources, tiny_dataset

__all__ = ["sources", "tiny_dataset"]
