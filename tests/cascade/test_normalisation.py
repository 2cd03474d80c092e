"""Intensities anchored to tissue: white matter, the unit, and what must not move them."""

import time

import numpy as np
import pytest

from bids_cascade.cascade.normalisation import (
    FLUID,
    GREY,
    WHITE,
    _eroded,
    _white_core,
    find_scale,
    find_tissues,
    normalise,
)

BOTH = ("T1w", "FLAIR")
T1W = {FLUID: 0.3, GREY: 0.75, WHITE: 1.0}
FLAIR = {FLUID: 0.3, GREY: 1.15, WHITE: 1.0}


def make_brain(t1w=T1W, flair=FLAIR, noise=0.05, seed=0, size=72):
    """Return channels, brain and tissue: a ball of fluid in white matter with bands of grey around it."""
    rng = np.random.default_rng(seed)
    radius = np.linalg.norm(np.indices((size,) * 3) - (size - 1) / 2, axis=0)
    outer = size / 2 - 3
    tissue = np.full(radius.shape, WHITE)
    tissue[radius < outer / 4] = FLUID
    tissue[radius > 0.74 * outer] = GREY
    tissue[radius > 0.97 * outer] = FLUID
    brain = radius < outer
    channels = np.zeros((2, *radius.shape), np.float32)
    for channel, levels in zip(channels, (t1w, flair), strict=True):
        for kind, level in levels.items():
            channel[tissue == kind] = level
        channel += rng.normal(0, noise, channel.shape)
    return channels, brain, tissue


def paint_lesions(channels, tissue, fraction, gain=0.45, drop=0.2):
    """Return channels in which this fraction of the brain, white matter around the ventricle, is lesion; and where."""
    size = tissue.shape[0]
    radius = np.linalg.norm(np.indices(tissue.shape) - (size - 1) / 2, axis=0)
    white = np.flatnonzero(tissue == WHITE)
    order = white[np.argsort(radius.ravel()[white], kind="stable")]
    lesion = np.zeros(tissue.shape, bool)
    n_brain = int((radius < size / 2 - 3).sum())
    lesion.ravel()[order[: int(fraction * n_brain)]] = True
    painted = channels.copy()
    painted[0][lesion] -= drop
    painted[1][lesion] += gain
    return painted, lesion


def test_tissues_are_found() -> None:
    channels, brain, tissue = make_brain()
    found = find_tissues(channels, brain, BOTH)
    for channel, levels in enumerate((T1W, FLAIR)):
        assert np.allclose(found.levels[channel], list(levels.values()), atol=0.02)
    fractions = [(tissue[brain] == kind).mean() for kind in (FLUID, GREY, WHITE)]
    assert np.allclose(found.fractions, fractions, atol=0.06)
    assert (found.sds < 0.08).all()


def test_other_classes_are_fitted_from_where_they_are_about() -> None:
    rng = np.random.default_rng(0)
    levels = np.array([0.2, 0.45, 0.7, 0.95])
    image = (np.repeat(levels, 2000) + rng.normal(0, 0.04, 8000)).reshape(1, 20, 20, 20)
    found = find_tissues(image, np.ones((20, 20, 20), bool), ("T1w",), np.array([[0.15, 0.5, 0.75, 0.9]]))
    np.testing.assert_allclose(found.levels, [levels], atol=0.03)
    np.testing.assert_allclose(found.fractions, 0.25, atol=0.05)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (700.0, 33.0)])
@pytest.mark.parametrize(
    ("t1w", "flair"),
    [
        (T1W, FLAIR),
        ({FLUID: 0.45, GREY: 0.82, WHITE: 1.0}, {FLUID: 0.25, GREY: 1.0, WHITE: 1.0}),  # 2D spin echo
        ({FLUID: 0.12, GREY: 0.64, WHITE: 1.0}, {FLUID: 0.35, GREY: 1.3, WHITE: 1.0}),
    ],
    ids=["usual", "flat", "steep"],
)
def test_white_matter_is_one_in_any_contrast(t1w, flair, scale) -> None:
    channels, brain, tissue = make_brain(t1w, flair)
    channels *= np.array(scale, np.float32)[:, None, None, None]
    scaled = normalise(channels, brain, BOTH)
    white = _eroded(tissue == WHITE)
    assert np.abs(np.median(scaled[:, white], axis=1) - 1).max() < 0.15  # the noise alone is about a quarter
    zero, unit = find_scale(channels, brain, BOTH)
    assert np.allclose(zero / scale, 1, atol=0.05)
    assert (unit > 0).all()
    assert not scaled[:, ~brain].any()
    assert scaled.dtype == np.float32


def test_the_unit_of_intensity_does_not_matter() -> None:
    channels, brain, _ = make_brain()
    expected = normalise(channels, brain, BOTH)
    assert np.allclose(normalise(channels * 512 + 64, brain, BOTH), expected, atol=0.005)


def test_zero_is_four_usual_distances_below_white_matter() -> None:
    channels, brain, _ = make_brain()
    (white, _), (unit, _) = find_scale(channels, brain, BOTH)
    x, y, z = (places[:5] for places in np.nonzero(brain))
    for steps, level in ((0, 1), (-4, 0), (2, 1.5), (-6, -0.5), (-9, -0.5), (14, 4.5), (30, 4.5)):
        changed = channels.copy()
        changed[0, x, y, z] = white + steps * unit
        assert np.allclose(normalise(changed, brain, BOTH)[0, x, y, z], level, atol=0.02)


def test_what_surrounds_the_brain_does_not_matter() -> None:
    channels, brain, _ = make_brain()
    wider = np.pad(channels, [(0, 0), *[(3, 2)] * 3], constant_values=99)
    found = normalise(wider, np.pad(brain, (3, 2)), BOTH)
    assert np.array_equal(found[:, 3:-2, 3:-2, 3:-2], normalise(channels, brain, BOTH))


def z_level(channel, brain, tissue):
    """Return the median z-score over the brain of a tissue."""
    return (np.median(channel[tissue]) - channel[brain].mean()) / channel[brain].std()


@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.04])
def test_lesions_do_not_move_it(fraction) -> None:
    """4 % of a brain are some 50 ml; the level of white matter among z-scores moves several times as far."""
    channels, brain, tissue = make_brain()
    painted, lesion = paint_lesions(channels, tissue, fraction)
    before, after = (find_scale(one, brain, BOTH) for one in (channels, painted))
    shift = np.abs(after[0] - before[0])
    assert shift.max() < 0.012  # of white matter; a lesion is 0.45 brighter
    assert np.allclose(after[1], before[1], rtol=0.12)
    white = (tissue == WHITE) & ~lesion
    z_shift = [
        abs(z_level(b, brain, white) - z_level(a, brain, white)) * a[brain].std()
        for a, b in zip(channels, painted, strict=True)
    ]
    if fraction == 0.04:
        assert shift[1] < 0.5 * z_shift[1]


def test_lesions_alone_stand_out() -> None:
    channels, brain, tissue = make_brain()
    painted, lesion = paint_lesions(channels, tissue, 0.02)
    scaled = normalise(painted, brain, BOTH)
    assert np.median(scaled[1][lesion]) > np.median(scaled[1][tissue == GREY]) + 0.25
    assert np.median(scaled[0][lesion]) < 0.83


@pytest.mark.parametrize("lesion_fraction", [0.0, 0.03])
def test_flair_alone(lesion_fraction: float) -> None:
    """White matter is found where a mixture of three tissues would be lost, and lesions don't move it."""
    channels, brain, tissue = make_brain()
    channels, _ = paint_lesions(channels, tissue, lesion_fraction)
    zero, unit = find_scale(1000 + 300 * channels[1:], brain, ("FLAIR",))
    expected, of_both = find_scale(1000 + 300 * channels, brain, BOTH)
    assert np.isclose((zero[0] - 1000) / 300, (expected[1] - 1000) / 300, atol=0.04)
    assert np.isclose(unit[0], of_both[1], rtol=0.25)


def test_the_level_of_flair_is_the_mean_by_both_and_by_flair_alone() -> None:
    """Where the T1w is brighter, FLAIR is darker: the white matter that T1w tells is darker in FLAIR than most."""
    channels, brain, tissue = make_brain(noise=0.03)
    slope = np.linspace(-0.2, 0.2, channels.shape[1], dtype=np.float32)[:, None, None]
    channels *= np.stack([1 + slope, 1 - slope])
    usual = np.median(channels[1][tissue == WHITE])
    by_t1w = np.median(channels[1][brain][_white_core(channels, channels[:, brain], brain, BOTH)])
    (by_flair,), _ = find_scale(channels[1:], brain, ("FLAIR",))
    (_, found), _ = find_scale(channels, brain, BOTH)
    assert found == pytest.approx((by_t1w + by_flair) / 2, abs=1e-6)
    assert by_t1w < usual - 0.03
    assert abs(found - usual) < 0.8 * abs(by_t1w - usual)


def test_t1w_alone() -> None:
    channels, brain, _ = make_brain()
    zero, unit = find_scale(channels[:1], brain, ("T1w",))
    assert np.isclose(zero[0], 1, atol=0.08)
    assert unit[0] > 0


def test_other_sequences_are_scaled_by_the_same_tissue() -> None:
    channels, brain, _ = make_brain()
    expected = find_scale(channels, brain, BOTH)
    t2w = 3 - channels[0]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        stacked = np.stack([channels[0], channels[1], t2w])[list(order)]
        zero, unit = find_scale(stacked, brain, [("T1w", "FLAIR", "T2w")[one] for one in order])
        back = np.argsort(order)
        assert np.allclose(zero[back], [*expected[0], 3 - expected[0][0]], atol=0.01)
        assert np.allclose(unit[back], [*expected[1], expected[1][0]], atol=0.01)


def drawn(t1w=T1W, flair=FLAIR):
    """Return a brain without any noise."""
    return make_brain(t1w, flair, noise=0)[:2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: drawn(),
        lambda: drawn(flair={FLUID: 1, GREY: 1, WHITE: 2}),  # two levels
        lambda: drawn(t1w={FLUID: 2, GREY: 1, WHITE: 0.4}),  # upside down
        lambda: (np.where(np.indices((2, 30, 30, 30))[1] > 14, 1.0, 2.0), np.ones((30, 30, 30), bool)),
        lambda: (np.random.default_rng(0).uniform(10, 20, (2, 20, 20, 20)), np.ones((20, 20, 20), bool)),
        lambda: ((make_brain()[0] * 100).astype(np.int16), make_brain()[1]),
        lambda: (make_brain()[0] * 1e35, make_brain()[1]),
        # Of a slab, no voxel has all its neighbours.
        lambda: (make_brain()[0], make_brain()[1] & (np.indices((72, 72, 72))[2] == 40)),
    ],
    ids=["drawn", "two levels", "upside down", "halves", "noise", "integers", "huge", "one slice"],
)
@pytest.mark.filterwarnings("error")
def test_odd_images_are_scaled_all_the_same(make) -> None:
    channels, brain = make()
    for sequences in (BOTH, ("FLAIR",), ("T1w",)):
        chosen = channels[[BOTH.index(name) for name in sequences]]
        zero, unit = find_scale(chosen, brain, sequences)
        for channel, level, step in zip(chosen, zero, unit, strict=True):
            assert channel[brain].min() <= level <= channel[brain].max()
            assert 0 < step <= np.ptp(channel[brain].astype(float))
        assert np.isfinite(normalise(chosen, brain, sequences)).all()


def test_where_no_white_matter_is_found_it_is_where_it_usually_is(monkeypatch) -> None:
    channels, brain, _ = make_brain()
    monkeypatch.setattr(
        "bids_cascade.cascade.normalisation._classify", lambda values, tissues: np.full(values.shape[1], -1, np.int8)
    )
    zero, _ = find_scale(channels, brain, BOTH)
    assert np.allclose(zero, np.quantile(channels[0][brain], 0.78), atol=0.06)


def test_it_is_deterministic_and_changes_nothing() -> None:
    channels, brain, _ = make_brain()
    copy = channels.copy()
    assert np.array_equal(normalise(channels, brain, BOTH), normalise(channels, brain, BOTH))
    assert np.array_equal(channels, copy)


def test_eroded_by_hand() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    assert np.argwhere(_eroded(mask)).tolist() == [[2, 2, 2]]
    assert _eroded(np.ones((3, 3, 3), bool)).sum() == 1  # beyond the edge there is nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, b: (c[:, :-1], b, BOTH), r"expected channels \(2, 72, 72, 72\) for T1w, FLAIR"),
        (lambda c, b: (c, b, ("PDw", "T2w")), "tissues are known in T1w and FLAIR, not in PDw, T2w"),
        (lambda c, b: (np.stack([c[0], b * 1.0]), b, ("T1w", "T2w")), "T2w is constant over the brain"),
        (lambda c, b: (c, b & False, BOTH), "the brain has 0 voxels; at least 1000"),
        (lambda c, b: (c * [[[[1]]], [[[0]]]], b, BOTH), "FLAIR is constant over the brain"),
    ],
)
def test_what_cannot_be_normalised(change, message) -> None:
    channels, brain, _ = make_brain()
    with pytest.raises(ValueError, match=message):
        find_scale(*change(channels, brain))


def test_tissues_of_other_sequences_are_not_known() -> None:
    channels, brain, _ = make_brain()
    with pytest.raises(ValueError, match="tissues are known in T1w and FLAIR, not in T2w"):
        find_tissues(channels, brain, ("T1w", "T2w"))
    with pytest.raises(ValueError, match=r"expected channels \(2, 72, 72, 72\)"):
        find_tissues(channels[:1], brain, BOTH)


@pytest.mark.data
def test_real_scan_in_a_few_seconds(shared_data) -> None:
    """White matter of a stripped 3 T scan is 1, its lesions are far from it, and it costs no more than 3 s."""
    from bids_cascade.imaging.images import data_of, load_image, mask_of

    folder = shared_data / "labelled-1mm"
    scans = [folder / "sub-ljubljana26" / "anat" / f"sub-ljubljana26_{sequence}.nii.gz" for sequence in BOTH]
    channels = np.stack([data_of(load_image(path)) for path in scans])
    brain = channels[0] > 0
    (path,) = (folder / "derivatives" / "manual").rglob("*_mask.nii.gz")
    lesion = mask_of(load_image(path))
    started = time.process_time()
    scaled = normalise(channels, brain, BOTH)
    assert time.process_time() - started < 6  # twice the aim, for busy machines
    assert np.median(scaled[1][lesion]) > 1.5
    assert abs(np.median(scaled[1][brain]) - 1) < 0.25


def test_flair_alone_needs_a_brain_with_more_than_one_intensity() -> None:
    flair = np.ones((1, 20, 20, 20), np.float32)
    brain = np.zeros((20, 20, 20), bool)
    brain[:9, :10, :10] = True
    with pytest.raises(ValueError, match="the brain has 900 voxels; at least 1000 are needed"):
        normalise(flair, brain, ("FLAIR",))
    with pytest.raises(ValueError, match="FLAIR is constant over the brain"):
        normalise(flair, np.ones_like(brain), ("FLAIR",))
