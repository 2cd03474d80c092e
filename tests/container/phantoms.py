"""Write three coarse phantoms as a BIDS dataset; the third one's FLAIR is cut off."""

import sys
from pathlib import Path

from bids_cascade.demo.cli import write_phantom_dataset

folder = Path(sys.argv[1])
write_phantom_dataset(folder, 3, t1w_voxel_mm=(1.5, 1.5, 1.5), flair_voxel_mm=(1.5, 1.5, 3))
broken = folder / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz"
broken.write_bytes(broken.read_bytes()[:20_000])
