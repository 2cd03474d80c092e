"""Three hundred bad images: read right, or refused in one line that names the file; quickly, in little memory."""

from __future__ import annotations

import gzip
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.images import check_scan, load_image
from tests.faults.scene import Row, Scene

_N, _SECONDS, _BYTES = 300, 2.0, 1_000_000_000


def run_images(folder: Path) -> Iterator[Row]:
    """Damage one good image in many ways, each drawn with a fixed seed, and read it as the app does first of all."""
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
    for name, path in _never_scans(folder, raw):
        happened = _read(path, good)
        yield Row("images", name, happened, happened == "refused by name")
    yield from _by_command_line(folder, raw, kinds)


def _by_command_line(
    folder: Path, raw: bytes, kinds: Mapping[str, Callable[[bytes, random.Random], bytes]]
) -> Iterator[Row]:
    """Give the app a visit with each kind of bad image, and one with a kind that is a file without an end."""
    dataset = folder / "dataset"
    (dataset / "sub-01").mkdir(parents=True)
    (dataset / "dataset_description.json").write_text('{"Name": "Bad images", "BIDSVersion": "1.10.0"}')
    contents = [damage(raw, random.Random(number)) for number in (1, 3) for damage in kinds.values()]
    refused = {f"{number:02d}" for number, content in enumerate(contents) if not _is_right(folder, content)}
    for number, content in enumerate(contents):
        anat = dataset / f"sub-{number:02d}" / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        for suffix, image in (("T1w", gzip.compress(raw)), ("FLAIR", content)):
            (anat / f"sub-{number:02d}_{suffix}.nii.gz").write_bytes(image)
    scene = Scene(folder / "scene", dataset)
    labels = sorted(refused)
    end = scene.run(folder / "out", folder / "work", "--participant-label", *labels)
    rows = {line.split()[0]: line for line in end.said.splitlines() if line.startswith("sub-")}
    named = all(f"sub-{label}_FLAIR.nii.gz" in rows.get(f"sub-{label}", "") for label in labels)
    happened = f"exit {end.code} after {end.processor_s:.1f} s of processor time, {end.peak_gb:.2f} GB at most; "
    happened += f"{len(rows)} rows, {'each names its file' if named else 'NOT ALL NAME THEIR FILES'}"
    # What is imported and started counts as well, and takes some of these seconds.
    quick = end.processor_s < _SECONDS * len(labels) and end.peak_gb < _BYTES / 1e9
    kept = end.code in (1, 65) and named and len(rows) == len(labels) and not end.has_traceback and quick
    yield Row("images", f"{len(labels)} of them, each a visit's FLAIR, by the command line", happened, kept)


def _is_right(folder: Path, content: bytes) -> bool:
    path = folder / "sub-00_FLAIR.nii.gz"
    path.write_bytes(content)
    try:
        check_scan(path, guess_orientation=False)
    except BidsCascadeError:
        return False
    return True


def _never_scans(folder: Path, raw: bytes) -> Iterator[tuple[str, Path]]:
    """Give what is no scan at all, or one of a kind that the app can't take, under the name of one."""
    affine = np.diag([4.0, 4.0, 4.0, 1])
    values = np.random.default_rng(1).normal(100, 10, (40, 48, 32)).astype(np.float32)
    spoilt = {name: values.copy() for name in ("one NaN", "one infinite voxel")}
    spoilt["one NaN"][3, 3, 3], spoilt["one infinite voxel"][3, 3, 3] = np.nan, np.inf
    arrays: dict[str, np.ndarray] = {
        **spoilt,
        "all 0": np.zeros_like(values),
        "all 7": np.full_like(values, 7),
        "all NaN": np.full_like(values, np.nan),
        "complex numbers": values.astype(np.complex64),
        "colours": np.zeros(values.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "two dimensions": values[..., 0],
        "one slice": values[..., :1],
        "two volumes": np.stack([values] * 2, axis=-1),
        "three components, in the fifth dimension": np.stack([values] * 3, axis=-1)[..., None, :],
        "two voxels to each side": values[:2, :2, :2],
    }
    affines = {
        "voxels of 0.01 mm": np.diag([0.01, 0.01, 0.01, 1]),
        "voxels of 50 mm": np.diag([50.0, 50, 50, 1]),
        "axes that are one": np.array([[4.0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]),
    }
    path = folder / "sub-02_T1w.nii.gz"
    for name, array in arrays.items():
        nib.Nifti1Image(array, affine).to_filename(path)
        yield name, path
    for name, other in affines.items():
        image = nib.Nifti1Image(values, affine)
        image.set_sform(other, 1)
        image.set_qform(None, 0)
        image.to_filename(path)
        yield name, path
    contents = {
        "no byte": b"",
        "text": b"not found\n",
        "a web page": b"<!doctype html><html><title>404</title></html>",
        "a zip archive": b"PK\x03\x04" + bytes(1000),
        "a DICOM file": bytes(128) + b"DICM" + bytes(1000),
        "a pointer of git-annex": b"/annex/objects/MD5E-s1234--abc.nii.gz\n",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n",
        "an image that is not compressed": raw,
        "an image compressed twice": gzip.compress(gzip.compress(raw)),
        "gzip without an image": gzip.compress(b""),
        "a compressed gigabyte of zeros": gzip.compress(bytes(1 << 30), 1),
        "200 kB that say they are 47 x 59 x 45 x 32767": _claiming(raw, (47, 59, 45, 32767)),
        "200 kB that say they are 32767 x 32767 x 32767": _claiming(raw, (32767, 32767, 32767)),
    }
    for name, content in contents.items():
        path.write_bytes(content)
        yield name, path
    path.unlink()
    for name, make in (
        ("a folder", path.mkdir),
        ("a named pipe", lambda: os.mkfifo(path)),
        ("a link to /dev/zero", lambda: path.symlink_to("/dev/zero")),
        ("a link to nothing", lambda: path.symlink_to("nothing")),
        ("a link to itself", lambda: path.symlink_to(path.name)),
    ):
        make()
        yield name, path
        path.rmdir() if name == "a folder" else path.unlink()


def _claiming(raw: bytes, shape: tuple[int, ...]) -> bytes:
    """Return a good image whose header says that it has another shape."""
    header = nib.Nifti1Header(raw[:348])
    header.set_data_shape(shape)
    return gzip.compress(header.binaryblock + raw[348:])


def _read(path: Path, good: np.ndarray) -> str:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        check_scan(path, guess_orientation=False)
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
