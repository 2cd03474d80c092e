"""Draw the pictures of the documentation anew, from the tutorial's results: ``python docs/pictures.py``.

They are kept in the repository, since the README shows one, and since pages are photographed by Chromium, which not
everyone has. Build the documentation first.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).resolve().parent
RUN = HERE / "_build" / "tutorial"
TRUTH, FOUND = (0x22, 0xDD, 0x55), (0xFF, 0x33, 0x44)
_PERCENTILES = (38, 58, 78)
"""Of the slices with lesions: those that are shown."""


def main() -> int:
    """Draw all; return the exit code."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not RUN.is_dir():
        print(f"needs Chromium, and the tutorial's results in {RUN}: build the documentation", file=sys.stderr)
        return 66
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn.png"
        draw_result(drawn)
        save_small(drawn, HERE / "result.png", _palette())
        for page, name in (("sub-01.html", "page_participant.png"), ("group.html", "page_group.png")):
            photograph(browser, RUN / "results" / page, drawn)
            save_small(drawn, HERE / name)
    return 0


def draw_result(path: Path) -> None:
    """Draw three FLAIR slices of a phantom with the known lesions and the app's mask, right on the left."""
    anat, truth_anat = (RUN / part / "sub-01" / "anat" for part in ("results", "dataset/derivatives/truth"))
    flair = _load(anat / "sub-01_space-T1w_desc-preproc_FLAIR.nii.gz")
    mask = "sub-01_space-T1w_label-L_mask.nii.gz"
    truth, found = _load(truth_anat / mask) > 0, _load(anat / mask) > 0
    brain = _load(anat / "sub-01_desc-brain_mask.nii.gz") > 0
    x, y = (np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    box = slice(x[0] - 3, x[-1] + 3), slice(y[0] - 3, y[-1] + 3)
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.75), facecolor="black")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0)
    slices = np.percentile(np.flatnonzero(truth.any(axis=(0, 1))), _PERCENTILES).astype(int)
    for axis, z in zip(axes, slices, strict=True):
        axis.imshow(flair[*box, z].T[:, ::-1], "gray", origin="lower", vmin=0, vmax=1.1 * np.quantile(flair, 0.998))
        for lesions, colour in ((truth, TRUTH), (found, FOUND)):
            if lesions[*box, z].any():
                axis.contour(lesions[*box, z].T[:, ::-1], [0.5], colors=[np.divide(colour, 255)], linewidths=1.7)
        axis.axis("off")
    figure.savefig(path, dpi=100, facecolor="black")


def photograph(browser: str, page: Path, path: Path) -> None:
    """Save the first screen of a page."""
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,1000"]
    command = [browser, *options, "--virtual-time-budget=8000", f"--screenshot={path}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def save_small(drawn: Path, path: Path, palette: Image.Image | None = None) -> None:
    """Save a picture with few colours: a third of the bytes."""
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(48, palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def _load(path: Path) -> NDArray[Any]:
    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image.from_filename(path)).dataobj)


def _palette() -> Image.Image:
    """Return greys, and the two colours on greys: a palette by frequency would have few of the latter."""
    greys = [(grey, grey, grey) for grey in range(0, 256, 4)]
    blends = [
        tuple(int(part * value + (1 - part) * grey) for value in colour)
        for colour in (TRUTH, FOUND)
        for part in (0.25, 0.5, 0.75, 1)
        for grey in (110, 150, 200, 235)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in [*greys, *blends] for value in colour])
    return palette


if __name__ == "__main__":
    sys.exit(main())
