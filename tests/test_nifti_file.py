"""What is read of a NIfTI file: its header first, and a compressed one to its end."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.errors import BadDataError, BidsCascadeError
from bids_cascade.imaging.images import check_labels, check_scan, load_image, load_labels, load_mask
from bids_cascade.nifti_file import read_header

SHAPE = (30, 25, 24)


def write(path: Path, kind: type[nib.Nifti1Image] = nib.Nifti1Image) -> Path:
    data = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.int16)
    kind(data, np.eye(4)).to_filename(path)
    return path


def change_header(path: Path, **fields: object) -> Path:
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def test_every_flipped_bit_of_a_compressed_image_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    whole, data = path.read_bytes(), np.asarray(nib.load(path).dataobj)
    accepted = []
    for place in np.linspace(10, len(whole) - 1, 60).astype(int):  # the ten bytes before have the file's name and date
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            accepted.append(np.array_equal(load_labels(path).dataobj, data))
        except BadDataError as error:
            assert str(path) in str(error)  # noqa: PT017
    assert accepted == []


@pytest.mark.parametrize("load", [load_image, load_labels, load_mask])
@pytest.mark.parametrize("n_bytes", [1, 4, 8, 100])
def test_a_compressed_image_without_its_end_is_noticed(
    tmp_path: Path, load: Callable[[Path], object], n_bytes: int
) -> None:
    path = write(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-n_bytes])
    with pytest.raises(BadDataError, match=r"a\.nii\.gz is not a readable NIfTI image \(Compressed file ended"):
        load(path)


def test_a_compressed_image_of_several_members_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    expected = np.asarray(nib.load(path).dataobj)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(b"".join(gzip.compress(content[i : i + 5000]) for i in range(0, len(content), 5000)) + bytes(64))
    np.testing.assert_array_equal(load_labels(path).dataobj, expected)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_both_versions_of_the_format_are_read(tmp_path: Path, name: str, kind: type[nib.Nifti1Image]) -> None:
    path = write(tmp_path / name, kind)
    np.testing.assert_array_equal(load_image(path).get_fdata(), nib.load(path).get_fdata())
    assert read_header(path).shape == SHAPE


def test_scaled_voxels_are_those_of_nibabel(tmp_path: Path) -> None:
    path = change_header(write(tmp_path / "a.nii.gz"), scl_slope=0.3, scl_inter=-1024.5)
    expected = nib.load(path).get_fdata(dtype=np.float32)
    assert expected.min() < -1000
    np.testing.assert_array_equal(load_image(path).get_fdata(dtype=np.float32), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"dim": [4, 47, 59, 45, 32767, 1, 1, 1]},
            r"47 x 59 x 45 x 32767 voxels, 8\.18 GB, which a file of 31 kB can't hold",
        ),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "header says 32767 x 32767 x 32767 voxels"),
        ({"vox_offset": np.inf}, "cannot convert float infinity to integer"),
        ({"vox_offset": np.nan}, "cannot convert float NaN to integer"),
        ({"vox_offset": 1e9}, "can't hold"),
        ({"qform_code": 1, "sform_code": 0, "quatern_b": 3.0}, "w2 should be positive"),
        ({"datatype": 32}, "not plain numbers"),
        ({"datatype": 9999}, "9999"),
    ],
)
def test_headers_that_can_not_be_are_refused_before_voxels_are_read(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    path = change_header(write(tmp_path / "a.nii.gz"), **fields)
    with pytest.raises(BadDataError, match=rf"a\.nii\.gz is not a readable NIfTI image .*{message}"):
        load_image(path)


def test_an_image_larger_than_memory_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii")
    header = nib.Nifti1Header(path.read_bytes()[:348])
    header.set_data_shape((9000, 9000, 9000))
    header["pixdim"][1:4] = 0.1
    header.set_sform(np.diag([0.1, 0.1, 0.1, 1.0]), 1)
    path.write_bytes(header.binaryblock)
    os.truncate(path, 352 + 2 * 9000**3)  # sparse
    message = r"a\.nii has 9000 x 9000 x 9000 voxels, which take 7.29e\+03 GB of memory; there are"
    with pytest.raises(BadDataError, match=message):
        check_scan(path, guess_orientation=False)
    for check in (check_labels, load_mask):
        with pytest.raises(BadDataError, match=message):
            check(path)


def test_a_small_file_that_claims_to_be_large_takes_no_memory(tmp_path: Path) -> None:
    path = change_header(write(tmp_path / "a.nii.gz"), dim=[4, 47, 59, 45, 32767, 1, 1, 1])
    script = (
        "import sys; from bids_cascade.imaging.images import load_image\n"
        "try: load_image(sys.argv[1])\nexcept Exception: pass\n"
        # The peak of this program alone; getrusage's is no less than that of the process that started it.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 500_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii", "gzip", r"is compressed \(gzip\), but its name does not say so; rename it to a.nii.gz"),
        ("a.nii.gz", "plain", r"is not compressed, but its name says so; rename it to a\.nii\."),
        ("a.nii.gz", b"", "is empty"),
        ("a.nii", b"", "is empty"),
        ("a.nii.gz", b"<html>not found</html>", "is not a readable NIfTI image .not gzip data"),
        (
            "a.nii.gz",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a pointer to content that has not been fetched; run git lfs pull or datalad get",
        ),
        (
            "a.nii.gz",
            b"/annex/objects/MD5E-s1--0.nii.gz\n",
            "is a pointer to content that has not been fetched; run git lfs pull or datalad get",
        ),
        ("a.nii", bytes(128) + b"DICM" + bytes(400), "is a DICOM file; convert it with dcm2niix"),
        ("a.nii", b"x" * 1000, "is not a readable NIfTI image .no NIfTI header"),
        ("a.nii.gz", gzip.compress(b"x" * 1000, mtime=0), "is not a readable NIfTI image .no NIfTI header"),
        ("a.nii.gz", gzip.compress(b"x", mtime=0), "is not a readable NIfTI image .no NIfTI header"),
    ],
)
def test_what_is_no_nifti_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        content = write(tmp_path / ("x.nii.gz" if content == "gzip" else "x.nii")).read_bytes()
    path.write_bytes(content)
    for read in (load_image, read_header):
        with pytest.raises(BadDataError, match=rf"{name} {message}"):
            read(path)


def test_random_headers_raise_only_what_names_the_file(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(1), write(tmp_path / "a.nii")
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, 348, 4):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            load_image(path)
        except BidsCascadeError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
    assert refused > 30


@pytest.mark.parametrize(("unit", "per_mm"), [("micron", 1000.0), ("meter", 0.001), ("mm", 1.0), ("unknown", 1.0)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1)])
def test_other_units_of_length_are_brought_to_mm(tmp_path: Path, unit: str, per_mm: float, codes: tuple) -> None:
    affine = np.array([[-1.25, 0, 0, 18], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    scaled = np.diag([per_mm, per_mm, per_mm, 1.0]) @ affine
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.int16), scaled)
    image.header.set_xyzt_units(unit, "sec")
    image.set_sform(scaled if codes[0] else None, codes[0])
    image.set_qform(scaled if codes[1] else None, codes[1])
    image.to_filename(tmp_path / "a.nii.gz")
    found = load_image(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(found.affine, affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(found.get_fdata(), image.get_fdata())
    np.testing.assert_allclose(load_labels(tmp_path / "a.nii.gz").affine, affine, rtol=1e-6, atol=1e-5)


def test_a_unit_that_no_head_can_have_is_wrong(tmp_path: Path) -> None:
    """Voxels of 1 micrometre: somebody has set the unit, not the size."""
    path = change_header(write(tmp_path / "a.nii.gz"), xyzt_units=3)
    np.testing.assert_array_equal(load_image(path).affine, np.eye(4))
    with pytest.raises(BadDataError, match=r"a.nii.gz has voxels of 1e\+06 x 1e\+06 x 1e\+06 mm"):
        load_image(change_header(path, xyzt_units=1, pixdim=[1, 1000, 1000, 1000, 1, 1, 1, 1]))
