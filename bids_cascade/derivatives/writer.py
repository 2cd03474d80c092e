"""Writes a visit's images with their sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import DTypeLike, NDArray

from bids_cascade import __version__
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.names import bids_uri, derivative_path, sidecar_path
from bids_cascade.imaging.grid import Grid
from bids_cascade.imaging.images import save_image
from bids_cascade.whole_file import write_whole_file

if TYPE_CHECKING:
    from bids_cascade.derivatives.plan import OutputPlan


class Writer:
    """Writes images with their sidecars into a folder that stands for the root of the derivative dataset.

    Attributes
    ----------
    plan : OutputPlan
    root : Path
    skull_stripped : bool
        Whether the raw images were.
    raw : dict of str to str
        BIDS URIs of the raw images, by sequence.
    """

    def __init__(self, plan: OutputPlan, root: Path, *, skull_stripped: bool) -> None:
        self.plan, self.root, self.skull_stripped = plan, root, skull_stripped
        self.raw = {sequence: bids_uri(choice.path, plan.bids_dir) for sequence, choice in plan.visit.images.items()}

    def path(self, suffix: str, extension: str, **entities: str) -> Path:
        """Return where a file goes; see :func:`bids_cascade.derivatives.names.derivative_path`."""
        return derivative_path(self.root, self.plan.visit, suffix, extension, **entities)

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of a file of the derivative dataset."""
        return bids_uri(path, self.root, "")

    def image(
        self, suffix: str, data: NDArray[Any], grid: Grid, dtype: DTypeLike, sidecar: dict[str, Any], **entities: str
    ) -> Path:
        """Write the sidecar, then the image: an existing image always has its sidecar."""
        path = self._described(suffix, sidecar, **entities)
        save_image(data, grid.affine, path, dtype)
        return path

    def packed(self, suffix: str, file: Path, sidecar: dict[str, Any], **entities: str) -> None:
        """Write the sidecar, then copy an existing file of the image."""
        write_whole_file(file.read_bytes(), self._described(suffix, sidecar, **entities))

    def _described(self, suffix: str, sidecar: dict[str, Any], **entities: str) -> Path:
        """Write the sidecar of an image; return the image's path."""
        path = self.path(suffix, ".nii.gz", **entities)
        if "Sources" not in sidecar:
            sidecar = {"Sources": [self.raw[self.plan.space]], **sidecar}
        write_json({**sidecar, "GeneratedByVersion": __version__}, sidecar_path(path))
        return path

    def spatial_reference(self, sequence: str) -> str:
        """Return the image whose grid a ``space-`` entity names."""
        if sequence == self.plan.space:
            return self.uri(self.path(sequence, ".nii.gz", desc="preproc"))
        return self.raw[sequence]
