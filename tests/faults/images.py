"""Three hundred bad images: read right, or refused in one line that names the file; quickly, in little memory."""

from __future__ import annotations

import gzip
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.images import load_image
from tests.faults.scene import Row

_N, _SECONDS, _BYTES = 300, 2.0, 1_000_000_000


def run_images(folder: Path) -> Iterator[Row]:
    """Damage one good image in many ways, each drawn with a fixed seed, and read it."""
    folder = folder / "images"
    folder.mkdir(exist_ok=True)
    good = np.random.default_rng(0).integers(1, 1000, (40, 48, 32)).astype(np.int16)
    nib.Nifti1Image(good, np.diag([4.0, 4.0, 4.0, 1])).to_filename(folder / "good.nii")
    raw = (folder / "good.nii").read_bytes()
    kinds = {
        "a byte of the header replaced": _header_byte,
        "a bit of the compressed file flipped": _flipped_bit,
        "cut off": _cut_off,
        "cut off after compression": _cut_compressed,
        "a field of the header set to an extreme": _extreme_field,
        "bytes in the middle of the compressed file zeroed": _zeroed,
    }
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    path = folder / "sub-01_T1w.nii.gz"
    for number in range(_N):
        name = list(kinds)[number % len(kinds)]
        path.write_bytes(kinds[name](raw, random.Random(number)))
        outcomes[name][_read(path, good)] += 1
    for name, counts in outcomes.items():
        happened = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        allowed = {"refused by name", "read right", "read, with another header"}
        yield Row("images", f"{name} ({sum(counts.values())})", happened, set(counts) <= allowed)


def _read(path: Path, good: np.ndarray) -> str:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        image = load_image(path)
        same = image.shape == good.shape and np.array_equal(np.asarray(image.dataobj), good)
        outcome = "read right" if same else "read, with another header" if _is_whole(path) else "READ WRONG"
    except BidsCascadeError as error:
        outcome = "refused by name" if path.name in str(error) and "\n" not in str(error) else "REFUSED WITHOUT A NAME"
    except (Exception, MemoryError) as error:
        outcome = f"RAISED {type(error).__name__}"
    if time.process_time() - began > _SECONDS:
        outcome += " SLOWLY"
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > _BYTES:
        outcome += " WITH MUCH MEMORY"
    return outcome


def _is_whole(path: Path) -> bool:
    """Return whether the stream itself is whole, so that nobody can know what its header was."""
    try:
        gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError):
        return False
    except Exception:
        return False
    return True


def _header_byte(raw: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(348)
    return gzip.compress(raw[:place] + bytes([draw.randrange(256)]) + raw[place + 1 :])


def _flipped_bit(raw: bytes, draw: random.Random) -> bytes:
    packed = bytearray(gzip.compress(raw))
    packed[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
    return bytes(packed)


def _cut_off(raw: bytes, draw: random.Random) -> bytes:
    return gzip.compress(raw[: draw.randrange(len(raw))])


def _cut_compressed(raw: bytes, draw: random.Random) -> bytes:
    packed = gzip.compress(raw)
    return packed[: len(packed) - draw.choice([1, 4, 8, 9, draw.randrange(len(packed))])]


def _zeroed(raw: bytes, draw: random.Random) -> bytes:
    packed = gzip.compress(raw)
    place = draw.randrange(len(packed) - 64)
    return packed[:place] + bytes(64) + packed[place + 64 :]


def _extreme_field(raw: bytes, draw: random.Random) -> bytes:
    header = nib.Nifti1Header(raw[:348])
    field, values = draw.choice(
        [
            ("dim", [0, -1, 32767]),
            ("pixdim", [0, -1, np.nan, np.inf, 1e30]),
            ("vox_offset", [np.inf, -1, 0, 1e9]),
            ("scl_slope", [np.nan, np.inf, 0]),
            ("scl_inter", [np.nan, np.inf]),
            ("quatern_b", [np.nan, 9]),
            ("srow_x", [np.nan, 0, 1e30]),
            ("datatype", [0, 1, 128, 9999]),
            ("bitpix", [0, 7, -8]),
        ]
    )
    value = draw.choice(values)
    structure = header.structarr
    if structure[field].ndim:
        structure[field][draw.randrange(len(structure[field]))] = value
    else:
        structure[field] = value
    return gzip.compress(header.binaryblock + raw[348:])
