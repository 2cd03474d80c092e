"""Anatomy on a real scan, through the command line: regions, filled T1w, standard space and the group's map."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.lesions import COUNT_COLUMNS, LOCATION_COLUMNS
from bids_cascade.anatomy.template import BUILT_IN, HOME, template_image
from bids_cascade.anatomy.zones import Region
from bids_cascade.cli import main
from bids_cascade.dataset.tables import read_tsv
from bids_cascade.dataset.validation import find_validator


@pytest.fixture(scope="module")
def done(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("anatomy") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(HOME, raising=False)
        spaces = ["--output-spaces", BUILT_IN]
        arguments = [str(shared_data / "labelled-1mm"), str(out)]
        assert main([*arguments, "participant", "--skip-bids-validation", *spaces]) == 0
    assert main([*arguments, "group"]) == 0
    return out


def image(out: Path, ending: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(out / "sub-ljubljana26" / "anat" / f"sub-ljubljana26_{ending}.nii.gz")


@pytest.mark.data
@pytest.mark.slow
def test_real_scan_has_its_anatomy(done: Path) -> None:
    anat = done / "sub-ljubljana26" / "anat"
    lesions = read_tsv(anat / "sub-ljubljana26_space-T1w_seg-lesions_dseg.tsv")
    assert set(LOCATION_COLUMNS) <= set(lesions.columns)
    (stats,) = read_tsv(anat / "sub-ljubljana26_desc-lesions_stats.tsv").dicts()
    assert set(COUNT_COLUMNS) <= set(stats)
    volumes = [float(stats[name]) for name in stats if name.startswith("lesion_volume_") and name.count("_") > 2]
    assert float(stats["lesion_volume_t1w_ml"]) in volumes
    assert 5 < float(stats["lateral_ventricle_volume_ml"]) < 40
    mask, regions = (
        np.asarray(image(done, ending).dataobj) for ending in ("space-T1w_label-L_mask", "space-T1w_seg-regions_dseg")
    )
    assert not np.isin(regions[mask > 0], [Region.LATERAL_VENTRICLES, Region.THIRD_VENTRICLE]).mean() > 0.02
    assert (np.asarray(image(done, "label-lesion_roi").dataobj) == mask).all()
    t1w, filled = (np.asarray(image(done, ending).dataobj) for ending in ("desc-preproc_T1w", "desc-lesionfilled_T1w"))
    assert filled[mask > 0].mean() > t1w[mask > 0].mean()
    assert (filled == t1w).mean() > 0.98


@pytest.mark.data
@pytest.mark.slow
def test_real_scan_comes_to_the_template(done: Path) -> None:
    moved = image(done, f"space-{BUILT_IN}_desc-preproc_T1w")
    assert moved.shape == template_image().shape
    template = np.asarray(template_image().dataobj)
    inside = template > 0.1
    assert np.corrcoef(np.asarray(moved.dataobj)[inside], template[inside])[0, 1] > 0.5
    mask = np.asarray(image(done, f"space-{BUILT_IN}_label-L_mask").dataobj)
    frequency = nib.Nifti1Image.from_filename(
        done / f"group_space-{BUILT_IN}_label-L_desc-lesionfrequency_probseg.nii.gz"
    )
    assert (np.asarray(frequency.dataobj) == mask).all()
    assert "group_regions.svg" in (done / "group.html").read_text()


@pytest.mark.data
@pytest.mark.slow
def test_derivatives_with_anatomy_are_valid_bids(done: Path) -> None:
    validator = find_validator()
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    found = subprocess.run([validator, str(done)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
