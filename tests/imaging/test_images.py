import gzip
import io
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from bids_cascade.errors import BadDataError, MissingInputError, OutputError
from bids_cascade.imaging.images import from_ants, load_image, load_mask, same_grid, save_image, to_ants, warn_of_guess

SHAPE = (30, 25, 12)
PLAIN = np.diag([1.0, 1.0, 3.0, 1.0])


def values(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def oblique(signs=(1, 1, 1)):
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array([0.9, 1.1, 3.0]) * signs)
    affine[:3, 3] = [-12.5, 30.25, 7.0]
    return affine


def write(path, data=None, affine=PLAIN):
    nib.save(nib.Nifti1Image(values() if data is None else data, affine), path)
    return path


def break_header(path, **fields):
    """Write header fields as they are, without nibabel's repairs."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(content), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("affine", [PLAIN, oblique(), oblique((-1, -1, 1)), oblique((-1, 1, 1))])
def test_load_image_keeps_values_and_affine(tmp_path, name, affine):
    image = load_image(write(tmp_path / name, affine=affine))
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata(), values())
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.get_filename() == str(tmp_path / name)


def test_load_image_drops_trailing_axis_of_length_one(tmp_path):
    assert load_image(write(tmp_path / "a.nii.gz", values((*SHAPE, 1)))).shape == SHAPE


def test_load_image_names_a_missing_file(tmp_path):
    with pytest.raises(MissingInputError, match=r"gone\.nii\.gz"):
        load_image(tmp_path / "gone.nii.gz")


def with_value(value):
    data = values().astype(np.float32)
    data[3, 4, 5] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (values((*SHAPE, 2)), "30 x 25 x 12 x 2 voxels"),
        (values((30, 25)), "30 x 25"),
        (values((30, 25, 1)), "30 x 25 x 1"),
        (with_value(np.nan), "1 voxels that are NaN"),
        (with_value(np.inf), "1 voxels that are NaN or infinite"),
        (np.zeros(SHAPE, np.int16), "value 0 everywhere"),
        (np.full(SHAPE, 7, np.int16), "value 7 everywhere"),
    ],
)
def test_load_image_refuses_bad_values_and_shapes(tmp_path, data, message):
    with pytest.raises(BadDataError, match=message) as raised:
        load_image(write(tmp_path / "bad.nii.gz", data))
    assert str(tmp_path / "bad.nii.gz") in str(raised.value)


@pytest.mark.parametrize("kind", ["truncated gz", "truncated", "text", "empty", "folder of another format"])
def test_load_image_refuses_what_it_cannot_read(tmp_path, kind):
    path = write(tmp_path / ("a.nii" if kind == "truncated" else "a.nii.gz"))
    if kind.startswith("truncated"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        path.write_text("not an image")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path = tmp_path / "a.mgz"
        nib.save(nib.MGHImage(values().astype(np.float32), PLAIN), path)
    with pytest.raises(BadDataError, match="is empty" if kind == "empty" else "not a readable NIfTI"):
        load_image(path)


@pytest.mark.parametrize("size", [0.0, -1.0, 0.01, 50.0])
def test_load_image_refuses_absurd_voxel_sizes(tmp_path, size):
    path = break_header(write(tmp_path / "a.nii.gz"), pixdim=[1, 1, 1, size, 1, 1, 1, 1])
    with pytest.raises(BadDataError, match=f"1 x 1 x {size:g} mm"):
        load_image(path)


def test_load_image_refuses_absurd_voxel_sizes_of_the_affine(tmp_path):
    path = break_header(write(tmp_path / "a.nii.gz"), srow_x=[30, 0, 0, 0])
    with pytest.raises(BadDataError, match="30 x 1 x 3 mm"):
        load_image(path)


def test_load_image_refuses_an_absurd_field_of_view(tmp_path):
    with pytest.raises(BadDataError, match="30 x 25 x 5 mm"):
        load_image(write(tmp_path / "a.nii.gz", values((30, 25, 5)), np.eye(4)))


def test_load_image_refuses_a_singular_affine(tmp_path):
    path = break_header(write(tmp_path / "a.nii.gz"), srow_y=[1, 0, 0, 0])
    with pytest.raises(BadDataError, match="can't be inverted"):
        load_image(path)


@pytest.mark.parametrize(("shift_mm", "refused"), [(2.0, False), (4.0, True)])
def test_load_image_compares_sform_and_qform(tmp_path, shift_mm, refused):
    image = nib.Nifti1Image(values(), PLAIN)
    moved = PLAIN.copy()
    moved[0, 3] += shift_mm
    image.set_sform(PLAIN, 1)
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    if not refused:
        assert load_image(tmp_path / "a.nii.gz").shape == SHAPE
        return
    with pytest.raises(BadDataError, match=r"sform and a qform that place a corner 4\.0 mm apart"):
        load_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("codes", "said"), [((0, 0), True), ((1, 0), False), ((0, 1), False)])
def test_an_image_without_any_orientation_is_warned_of(tmp_path, caplog, codes, said):
    path = break_header(write(tmp_path / "a.nii.gz"), sform_code=codes[0], qform_code=codes[1])
    warn_of_guess(path)
    assert (f"{path} has neither sform nor qform" in caplog.text) is said


@pytest.mark.parametrize("affine", [PLAIN, oblique(), oblique((-1, 1, 1))])
def test_save_image_round_trip_and_equal_bytes(tmp_path, affine):
    first, second = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    for path in (first, second):
        save_image(values().astype(np.float32), affine, path, np.float32)
    assert first.read_bytes() == second.read_bytes()
    image = nib.load(first)
    assert image.header.get_xyzt_units()[0] == "mm"
    for found, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(found, affine, atol=1e-5)
    np.testing.assert_array_equal(image.get_fdata(), values())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_save_image_writes_only_the_sform_of_a_sheared_affine(tmp_path):
    sheared = PLAIN.copy()
    sheared[0, 1] = 0.2
    save_image(values(), sheared, tmp_path / "a.nii", np.int16)
    image = nib.load(tmp_path / "a.nii")
    assert image.get_qform(coded=True)[1] == 0
    np.testing.assert_allclose(image.get_sform(), sheared, atol=1e-6)
    assert load_image(tmp_path / "a.nii").shape == SHAPE


def test_save_image_rounds_and_takes_bool(tmp_path):
    save_image(np.full(SHAPE, 1.9), PLAIN, tmp_path / "a.nii.gz", np.uint8)
    assert (np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj) == 2).all()
    save_image(np.ones(SHAPE, bool), PLAIN, tmp_path / "b.nii.gz", np.uint8)
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.uint8


def test_save_image_leaves_nothing_when_it_fails(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(OutputError, match=r"a\.nii\.gz"):
        save_image(values(), PLAIN, tmp_path / "a.nii.gz", np.int16)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_same_grid_compares_corners():
    image = nib.Nifti1Image(values(), PLAIN)
    near, far = PLAIN.copy(), PLAIN.copy()
    near[0, 3] += 0.009
    far[0, 0] += 0.001
    assert same_grid(image, nib.Nifti1Image(values(), near))
    assert not same_grid(image, nib.Nifti1Image(values(), far))
    assert not same_grid(image, nib.Nifti1Image(values((30, 25, 13)), PLAIN))


def test_same_grid_looks_through_the_order_of_the_axes():
    image = nib.Nifti1Image(values(), PLAIN)
    turned = image.as_reoriented([[2, -1], [0, 1], [1, -1]])
    assert turned.shape != image.shape
    assert same_grid(image, turned)
    assert not same_grid(image, nib.Nifti1Image(values(), turned.affine))


SHEARED = oblique() @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("affine", [PLAIN, oblique(), oblique((-1, -1, 1)), oblique((-1, 1, 1)), SHEARED])
def test_ants_sees_voxels_where_nibabel_does(affine):
    import ants

    image = nib.Nifti1Image(values().astype(np.float32), affine)
    converted = to_ants(image)
    for index in [(0, 0, 0), (5, 7, 2), (29, 24, 11)]:
        lps = np.array(ants.transform_index_to_physical_point(converted, index))
        np.testing.assert_allclose(lps * [-1, -1, 1], apply_affine(affine, index), atol=1e-4)
        assert converted[index] == image.dataobj[index]
    back = from_ants(converted)
    np.testing.assert_allclose(back.affine, affine, atol=1e-9)
    np.testing.assert_array_equal(back.get_fdata(), image.get_fdata())


@pytest.mark.parametrize("value", [1, 255])
def test_load_mask_takes_empty_masks_and_any_value(tmp_path, value):
    lesion = np.zeros(SHAPE, np.uint8)
    assert not np.asarray(load_mask(write(tmp_path / "a.nii.gz", lesion)).dataobj).any()
    lesion[3, 4, 5] = value
    found = load_mask(write(tmp_path / "b.nii.gz", lesion[..., None], oblique()))
    assert np.argwhere(np.asarray(found.dataobj)).tolist() == [[3, 4, 5]]
    np.testing.assert_allclose(found.affine, oblique(), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.arange(24.0).reshape(2, 3, 4), "holds the values 0, 1, 2, 3, .*; expected a mask"),
        (np.full((2, 3, 4), 5, np.uint8), "holds the values 5; expected a mask"),
        (np.full((2, 3, 4), np.nan, np.float32), "expected a mask"),
        (np.zeros((2, 3, 4, 2), np.uint8), "expected a 3D image"),
    ],
)
def test_load_mask_refuses_what_is_none(tmp_path, data, message):
    with pytest.raises(BadDataError, match=rf"x\.nii\.gz.*{message}"):
        load_mask(write(tmp_path / "x.nii.gz", data))


def test_load_mask_refuses_what_it_cannot_read(tmp_path):
    path = write(tmp_path / "x.nii.gz", np.zeros(SHAPE, np.uint8))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(BadDataError, match=r"x\.nii\.gz is not a readable NIfTI image"):
        load_mask(path)
    with pytest.raises(MissingInputError, match=r"none\.nii\.gz does not exist"):
        load_mask(tmp_path / "none.nii.gz")
    with pytest.raises(BadDataError, match="affine that can't be inverted"):
        load_mask(break_header(write(tmp_path / "y.nii.gz", np.zeros(SHAPE, np.uint8)), srow_y=[1, 0, 0, 0]))


def test_parts_of_ants_that_nobody_needs_are_not_loaded():
    script = (
        "import sys; from bids_cascade.imaging.images import load_ants; load_ants().registration; print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "ants.registration" in found
    assert not {"statsmodels", "sklearn", "matplotlib.pyplot"} & set(found)
