from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy import build
from bids_cascade.anatomy.atlas import ATLAS, load_atlas, warped_priors
from bids_cascade.anatomy.registration import Effort, register_to_template
from bids_cascade.anatomy.structures import FREESURFER_LABELS, Structure
from bids_cascade.anatomy.template import template_image
from bids_cascade.imaging.grid import Grid


def at(point_mm: tuple[float, float, float]) -> dict[Structure, float]:
    """Return the atlas's probabilities at a point of the template."""
    atlas = load_atlas()
    voxel = np.rint(np.linalg.inv(atlas.affine) @ [*point_mm, 1])[:3].astype(int)
    values = np.asarray(atlas.dataobj)[tuple(voxel)] / 255
    return dict(zip(Structure, values.tolist(), strict=True))


def test_atlas_is_small_and_its_probabilities_sum_to_one_at_most() -> None:
    assert ATLAS.stat().st_size < 2_000_000
    data = np.asarray(load_atlas().dataobj)
    assert data.shape[-1] == len(Structure)
    assert data.dtype == np.uint8
    assert data.astype(int).sum(axis=-1).max() <= 255 + len(Structure)


@pytest.mark.parametrize(
    ("point_mm", "structure"),
    [
        ((8, 0, 20), Structure.LATERAL_VENTRICLES),  # body
        ((-24, -46, 10), Structure.LATERAL_VENTRICLES),  # atrium
        ((0, -46, -30), Structure.FOURTH_VENTRICLE),
        ((10, -18, 8), Structure.DEEP_GREY),  # thalamus
        ((26, -30, 32), Structure.WHITE_MATTER),  # centrum semiovale
        ((0, -26, -32), Structure.BRAINSTEM),  # pons
        ((26, -64, -34), Structure.CEREBELLUM),
    ],
)
def test_structures_are_where_anatomy_says(point_mm: tuple[float, float, float], structure: Structure) -> None:
    values = at(point_mm)
    assert max(values, key=lambda one: values[one]) == structure, values


def test_template_is_symmetric_and_so_is_the_atlas() -> None:
    for x in (8.0, 14.0, 26.0):
        left, right = at((-x, -10, 14)), at((x, -10, 14))
        assert all(left[one] == pytest.approx(right[one], abs=0.2) for one in Structure)


def test_priors_follow_the_transform(tmp_path: Path) -> None:
    template = template_image()
    small = Effort(voxel_mm=8.0, affine_iterations=(10, 0, 0), iterations=(2, 0, 0))
    shifted = nib.Nifti1Image(template.dataobj, template.affine.copy())
    shifted.affine[:3, 3] += [0, 0, 16]
    found = register_to_template([template], [shifted], tmp_path, small)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-20, -60, 20]
    priors = warped_priors(Grid((10, 20, 10), affine), found.from_template)
    assert priors.shape == (len(Structure), 10, 20, 10)
    x, y, z = np.rint((np.array([12, 12, 32]) - affine[:3, 3]) / 4).astype(int)
    assert priors[Structure.LATERAL_VENTRICLES, x, y, z] > 0.3


def test_build_averages_maps_and_their_mirror_images() -> None:
    labels = np.zeros((8, 4, 4), np.int16)
    labels[6, 1:3, 1:3] = FREESURFER_LABELS[Structure.BRAINSTEM][0]
    structures = build.structures_of(labels)
    assert set(np.unique(structures)) == {0, Structure.BRAINSTEM + 1}
    atlas = np.asarray(build.average([structures], np.eye(4)).dataobj).astype(int)
    assert atlas.shape == (4, 2, 2, len(Structure))
    stem = atlas[..., Structure.BRAINSTEM]
    assert (stem == stem[::-1]).all()
    assert stem.any()
    assert not np.delete(atlas, Structure.BRAINSTEM, axis=-1).any()


def test_maps_are_painted_as_the_template_looks() -> None:
    labels = np.zeros((16, 16, 16), np.int16)
    labels[4:12, 4:12, 4:12] = 2
    labels[8, 8, 8] = 3
    labels[14, 14, 14] = 24  # fluid far from the brain
    t1w, white = build.paint_like_template(labels)
    assert (t1w[5, 5, 5], white[5, 5, 5]) == (pytest.approx(0.85), pytest.approx(0.9))
    assert (t1w[8, 8, 8], white[8, 8, 8]) == (pytest.approx(0.66), pytest.approx(0.12))
    assert t1w[14, 14, 14] == t1w[0, 0, 0] == 0
