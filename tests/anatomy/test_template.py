from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.template import BUILT_IN, HOME, find_template, load_template, template_image
from bids_cascade.errors import BadDataError, MissingInputError


def leave(home: Path, name: str, value: float) -> Path:
    path = home / "tpl-Small" / f"tpl-Small_{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full((30, 30, 30), value, np.float32)
    data[:10] = 0
    nib.Nifti1Image(data, np.eye(4)).to_filename(path)
    return path


def test_built_in_template_needs_nothing() -> None:
    assert load_template(BUILT_IN) is template_image()
    assert template_image().shape == (197, 233, 189)
    assert np.asarray(template_image().dataobj).max() == 1


def test_brain_is_cut_out_by_the_templates_own_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    whole = leave(tmp_path, "res-01_T1w", 7)
    mask = leave(tmp_path, "res-01_desc-brain_mask", 1)
    assert find_template("Small") == (whole, mask)
    data = np.asarray(load_template("Small").dataobj)
    assert (data[:10] == 0).all()
    assert (data[10:] == 7).all()


def test_a_mask_of_another_template_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    leave(tmp_path, "res-01_T1w", 7)
    mask = leave(tmp_path, "res-01_desc-brain_mask", 1)
    elsewhere = np.diag([1.0, 1, 1, 1])
    elsewhere[0, 3] = 5
    for shape, affine in (((30, 30, 31), np.eye(4)), ((30, 30, 30), elsewhere)):
        nib.Nifti1Image(np.ones(shape, np.uint8), affine).to_filename(mask)
        with pytest.raises(BadDataError, match=r"desc-brain_mask.nii.gz is not on the grid of .*_T1w.nii.gz; fetch"):
            load_template("Small")
    nib.Nifti1Image(np.zeros((30, 30, 30), np.uint8), np.eye(4)).to_filename(mask)
    with pytest.raises(BadDataError, match="shows no brain"):
        load_template("Small")


def test_a_mask_stored_in_another_order_covers_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    leave(tmp_path, "res-01_T1w", 7)
    mask = nib.load(leave(tmp_path, "res-01_desc-brain_mask", 1))
    flipped = nib.Nifti1Image(np.asarray(mask.dataobj)[::-1], np.array([[-1, 0, 0, 29], *np.eye(4)[1:]]))
    flipped.to_filename(mask.get_filename())
    data = np.asarray(load_template("Small").dataobj)
    assert (data[:10] == 0).all()
    assert (data[10:] == 7).all()


def test_a_template_whose_left_and_right_are_a_guess_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    path = leave(tmp_path, "desc-brain_T1w", 7)
    image = nib.load(path)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(path)
    with pytest.raises(BadDataError, match=r"tpl-Small_desc-brain_T1w.nii.gz has neither sform nor qform"):
        load_template("Small")


def test_finer_and_stripped_images_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    leave(tmp_path, "res-02_desc-brain_T1w", 7)
    fine = leave(tmp_path, "res-01_desc-brain_T1w", 7)
    assert find_template("Small") == (fine, None)


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOME, raising=False)
    with pytest.raises(MissingInputError, match=f"set {HOME} to the folder"):
        load_template("Small")
    monkeypatch.setenv(HOME, str(tmp_path))
    with pytest.raises(MissingInputError, match="tpl-Small holds no T1w image of the template with its brain mask"):
        load_template("Small")
