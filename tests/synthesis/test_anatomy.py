"""What is read out of a label map."""

import numpy as np
import pytest

from bids_cascade.synthesis.anatomy import (
    _LABELS,
    CORTICAL,
    FLUID,
    PARENCHYMA,
    STRUCTURES,
    Tissue,
    _split_fat,
    is_any,
    make_anatomy,
)
from bids_cascade.synthesis.config import FLAIR_SIGNALS, T1W_SIGNALS

from .conftest import make_labels


def test_every_tissue_has_signals_and_one_meaning() -> None:
    names = {kind.name.lower() for kind in Tissue}
    for signals in (T1W_SIGNALS, FLAIR_SIGNALS):
        assert set(vars(signals)) == names
        assert all(0 <= low <= high for low, high in vars(signals).values())
    values = [value for own in _LABELS.values() for value in own]
    assert len(values) == len(set(values))


def test_labels_become_tissues(anatomy) -> None:
    labels, _ = make_labels()
    kinds = {
        2: Tissue.WHITE,
        41: Tissue.WHITE,
        16: Tissue.BRAINSTEM,
        12: Tissue.PUTAMEN,
        43: Tissue.LATERAL_VENTRICLE,
        515: Tissue.BONE,
        511: Tissue.SKIN,
    }
    for label, kind in kinds.items():
        found = anatomy.tissue[labels == label]
        assert (found == kind).mean() > 0.95, label  # some white matter becomes septum
    assert set(np.unique(anatomy.tissue[labels == 3])) == {Tissue.CORTEX}  # far from the putamen


def test_distances_by_the_obvious(anatomy) -> None:
    tissue = anatomy.brain_tissue
    ventricle = np.argwhere(tissue == Tissue.LATERAL_VENTRICLE)
    cortex = np.argwhere(is_any(tissue, (Tissue.CORTEX, Tissue.INSULA)))
    for voxel in np.random.default_rng(0).integers(0, tissue.shape, (20, 3)):
        for found, there in ((anatomy.from_ventricle_mm, ventricle), (anatomy.from_cortex_mm, cortex)):
            expected = np.linalg.norm(there - voxel, axis=1).min()
            assert np.isclose(found[tuple(voxel)], expected, rtol=1e-3)


def test_brain_is_parenchyma_with_what_it_encloses(anatomy) -> None:
    brain = anatomy.brain_depth_mm > 0
    tissue = anatomy.brain_tissue
    assert brain[is_any(tissue, PARENCHYMA)].all()
    assert brain[is_any(tissue, FLUID[:3])].all()
    assert not brain[is_any(tissue, (Tissue.BONE, Tissue.SKIN, Tissue.AIR))].any()


def test_septum_lies_between_the_ventricles_and_insula_at_the_putamen() -> None:
    labels, affine = make_labels()
    x, y, z = np.argwhere(labels == 12).mean(axis=0).astype(int)
    labels[x - 8 : x - 5, y - 3 : y + 4, z - 2 : z + 3] = 3
    middle = labels.shape[0] // 2
    row = np.argwhere(labels == 43).mean(axis=0).astype(int)
    labels[middle - 2 : middle + 3, row[1] - 3 : row[1] + 4, row[2] - 1 : row[2] + 2] = (
        [[[4]]] * 2 + [[[2]]] + [[[43]]] * 2
    )
    found = make_anatomy(labels, affine, "x")
    assert (found.tissue[x - 7, y, z]) == Tissue.INSULA
    assert found.tissue[middle, row[1], row[2]] == Tissue.SEPTUM


def test_scalp_is_fat_and_depth_is_mixed(anatomy) -> None:
    labels, _ = make_labels()
    soft = labels == 507
    assert (anatomy.tissue[soft & (np.arange(labels.shape[2]) > 70)] == Tissue.FAT).mean() > 0.95
    deep = np.full((60, 60, 60), Tissue.MUSCLE, np.uint8)
    deep[:2] = Tissue.AIR
    _split_fat(deep)
    assert 0.05 < (deep[20:40, 20:40, :40] == Tissue.FAT).mean() < 0.6


def test_flow_is_fluid(anatomy) -> None:
    assert anatomy.flow.any()
    assert is_any(anatomy.brain_tissue, FLUID)[anatomy.flow].all()


def test_centres_are_where_the_structures_are(anatomy) -> None:
    labels, _ = make_labels()
    for number, value in enumerate(STRUCTURES.values()):
        assert np.allclose(anatomy.centres[number], np.argwhere(labels == value).mean(axis=0))


def test_label_of_unknown_meaning_is_refused() -> None:
    labels, affine = make_labels()
    labels[0, 0, 0] = 999
    with pytest.raises(ValueError, match="labels of unknown meaning: 999"):
        make_anatomy(labels, affine, "x")
    labels[0, 0, 0] = -3
    with pytest.raises(ValueError, match="labels of unknown meaning: -3"):
        make_anatomy(labels, affine, "x")


@pytest.mark.parametrize(("missing", "what"), [((3, 42), "cerebral cortex"), ((4, 43), "lateral ventricle")])
def test_map_without_a_brain_is_refused(missing, what) -> None:
    labels, affine = make_labels()
    labels[np.isin(labels, missing)] = 2
    with pytest.raises(ValueError, match=f"there is no {what} in it"):
        make_anatomy(labels, affine, "x")


def test_what_is_bright_in_healthy_flair_lies_in_its_own_tissue(anatomy) -> None:
    tissue = anatomy.brain_tissue
    stem = np.isfinite(anatomy.stem)
    assert stem.any()
    assert is_any(tissue[stem], (Tissue.BRAINSTEM, Tissue.VENTRAL_DC)).all()
    assert anatomy.stem[stem].min() >= 1
    for part, kinds in ((anatomy.tract, (Tissue.WHITE, Tissue.VENTRAL_DC)), (anatomy.limbic, CORTICAL)):
        assert part.min() >= 0
        assert part.max() <= 1
        assert is_any(tissue[part > 0], kinds).all()
    assert anatomy.tract.any()
