"""Contrasts, texture, and what only looks like a lesion."""

from dataclasses import fields, replace

import numpy as np
import pytest

from bids_cascade.synthesis.anatomy import FLUID, PARENCHYMA, Tissue, is_any
from bids_cascade.synthesis.config import (
    FLAIR_SIGNALS,
    T1W_SIGNALS,
    LesionConfig,
    LesionSignalConfig,
    MimicConfig,
    SynthesisConfig,
    TextureConfig,
)
from bids_cascade.synthesis.lesions import paint_lesions
from bids_cascade.synthesis.paint import _draw_table, paint_head

NO_MIMICS = MimicConfig(
    **{one.name: 0.0 for one in fields(MimicConfig) if one.name.endswith("_fraction")},
    choroid_spread=0.0,
    insula_gain=(0.0, 0.0),
    limbic_gain=(0.0, 0.0),
)
EVEN = TextureConfig(**{one.name: (0.0, 0.0) for one in fields(TextureConfig) if one.name.endswith(("_sd", "_gain"))})
PLAIN = SynthesisConfig(mimics=NO_MIMICS, texture=EVEN, lesions=LesionConfig(none_fraction=1))


def paint(anatomy, patients, config, seed=0):
    lesions = paint_lesions(anatomy, patients, config.lesions, LesionSignalConfig(), np.random.default_rng(99))
    return paint_head(anatomy, lesions, config, np.random.default_rng(seed)), lesions


def test_tables_are_within_their_ranges() -> None:
    for seed in range(30):
        for signals in (T1W_SIGNALS, FLAIR_SIGNALS):
            table = _draw_table(signals, TextureConfig(), np.random.default_rng(seed))
            for name, (low, high) in vars(signals).items():
                assert low - 1e-6 <= table[Tissue[name.upper()]] <= high + 1e-6


def test_without_texture_each_tissue_has_one_signal(anatomy, patients) -> None:
    painting, _ = paint(anatomy, patients, PLAIN)
    for volume, signals in ((painting.t1w, T1W_SIGNALS), (painting.flair, FLAIR_SIGNALS)):
        assert np.allclose(volume[anatomy.tissue == Tissue.WHITE], 1)
        for kind in (Tissue.CORTEX, Tissue.THALAMUS, Tissue.LATERAL_VENTRICLE):
            found = np.unique(volume[anatomy.tissue == kind])
            low, high = getattr(signals, kind.name.lower())
            assert len(found) == 1
            assert low <= found[0] <= high


def test_lesions_are_added(anatomy, patients) -> None:
    config = replace(PLAIN, lesions=LesionConfig(none_fraction=0))
    painting, lesions = paint(anatomy, patients, config)
    white = (anatomy.brain_tissue == Tissue.WHITE) & (lesions.fraction == 1)
    assert white.any()
    assert np.allclose(painting.flair[anatomy.box][white], np.maximum(0.02, 1 + lesions.flair_gain[white]))
    assert np.allclose(painting.t1w[anatomy.box][white], 1 - lesions.t1w_drop[white])


@pytest.mark.parametrize(
    ("mimic", "kinds"),
    [
        ({"lining_fraction": 1.0, "lining_gain": (0.3, 0.3)}, (Tissue.WHITE, Tissue.CAUDATE)),
        ({"dirty_fraction": 1.0, "dirty_gain": (0.1, 0.1)}, (Tissue.WHITE,)),
        ({"flow_fraction": 1.0, "flow_smear_fraction": 0.0}, FLUID),
        ({"flow_fraction": 1.0, "flow_smear_fraction": 1.0}, (*FLUID, *PARENCHYMA)),
        (
            {"vessel_fraction": 1.0, "vessel_flair_gain": (0.5, 0.5)},
            (Tissue.SULCAL_CSF, Tissue.VESSEL, Tissue.CORTEX, Tissue.INSULA, Tissue.WHITE),
        ),
    ],
    ids=["lining", "dirty white", "flow", "streaks", "vessels"],
)
def test_each_mimic_is_bright_where_it_belongs(anatomy, patients, mimic, kinds) -> None:
    plain, _ = paint(anatomy, patients, PLAIN)
    painting, _ = paint(anatomy, patients, replace(PLAIN, mimics=replace(NO_MIMICS, **mimic)))
    brighter = painting.flair[anatomy.box] > plain.flair[anatomy.box] + 0.01
    assert brighter.any()
    assert is_any(anatomy.brain_tissue, kinds)[brighter].all()
    if "lining_fraction" in mimic:
        assert anatomy.from_ventricle_mm[brighter].max() < 8
        assert anatomy.from_ventricle_mm[brighter].min() == 1


def test_septum_is_dim_where_it_is_not_a_mimic(anatomy, patients) -> None:
    tissue = anatomy.tissue.copy()
    tissue[anatomy.box][40, 40, 40] = Tissue.SEPTUM
    with_septum = replace(anatomy, tissue=tissue)
    septum = tissue == Tissue.SEPTUM
    dim, _ = paint(with_septum, patients, PLAIN)
    bright, _ = paint(with_septum, patients, replace(PLAIN, mimics=replace(NO_MIMICS, septum_fraction=1.0)))
    assert np.allclose(dim.flair[septum] - 1, 0.3 * (bright.flair[septum] - 1), atol=1e-5)


def test_nothing_in_the_head_is_below_zero(anatomy, patients) -> None:
    painting, _ = paint(anatomy, patients, SynthesisConfig(lesions=LesionConfig(none_fraction=0)))
    assert painting.t1w.min() > 0
    assert painting.flair.min() > 0
