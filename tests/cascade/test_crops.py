"""What a network is shown in training."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.cascade.crops import _LONE_SHIFT, CropGeometry, CropPool, VisitCrops, _without
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.patches import FLIPS, coarsen, read_box
from bids_cascade.cascade.samples import LabelledVisit, Samples, first_stage_samples
from bids_cascade.cascade.training import crop_geometry
from bids_cascade.cascade.weights import component_weights
from bids_cascade.config import CascadeConfig, NetworkConfig, TrainingConfig

from .conftest import make_visit, random_samples

CONFIG = CascadeConfig()


PLAIN = TrainingConfig(gain=1.0, shift=0.0, batch_size=4, component_power=0.0)
"""Crops are mirrored, but not changed in intensity, and all voxels count the same."""


GEOMETRIES = {
    "one step a crop": CropGeometry(4, 4, (1, 2), 2, 1),
    "two steps a crop": CropGeometry(8, 4, (1, 2, 4), 2, 2),
    "three steps a crop": CropGeometry(6, 2, (1,), 1, 0),
    "larger than the visit": CropGeometry(24, 8, (1, 4), 1, 1),
}


SHAPES = [(12, 8, 8), (13, 9, 11), (3, 10, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_drawn_loss_is_expected_to_be_the_mean_loss(name: str, shape) -> None:
    """Over all crops, by their chances: not about, but exactly."""
    samples, negative_weight = random_samples(shape, 17, 40), 0.3
    crops, loss = VisitCrops(samples, GEOMETRIES[name]), np.random.default_rng(1).random(shape)
    around = GEOMETRIES[name].size
    padded = np.pad(loss, around, constant_values=1e9)
    expectation, total = 0.0, 0.0
    for origin in np.ndindex(crops.chances.shape):
        chance, start = crops.chances[origin], crops.start_of(origin)
        crop = crops.read(start, negative_weight)
        box = tuple(slice(edge + around, edge + 2 * around) for edge in start)
        expectation += chance * (crop.weight * padded[box]).sum()
        total += chance
        assert chance > 0 or not crop.weight.any()
        np.testing.assert_array_equal(crop.weight > 0, crop.lesion | crop.negative)
    assert total == pytest.approx(1)
    expected = loss[samples.visit.lesion].mean() + negative_weight * loss[samples.negative].mean()
    assert expectation == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n_lesion", "n_negative"), [(0, 9), (9, 0), (1, 1)])
def test_the_same_with_one_kind_of_voxels(n_lesion: int, n_negative: int) -> None:
    samples = random_samples((9, 8, 7), n_lesion, n_negative)
    crops = VisitCrops(samples, GEOMETRIES["two steps a crop"])
    weights = [
        crops.chances[one] * crops.read(crops.start_of(one)).weight.sum() for one in np.ndindex(crops.chances.shape)
    ]
    assert sum(weights) == pytest.approx((n_lesion > 0) + (n_negative > 0), rel=1e-6)
    assert crops.n_samples == n_lesion + n_negative


@pytest.mark.parametrize("name", GEOMETRIES)
def test_chances_are_half_by_lesion_and_half_by_others(name: str) -> None:
    geometry, samples = GEOMETRIES[name], random_samples((13, 9, 11), 17, 40)
    crops = VisitCrops(samples, geometry)
    counts = np.array(
        [
            [mask.sum() for mask in (crop.lesion, crop.negative)]
            for crop in (crops.read(crops.start_of(one)) for one in np.ndindex(crops.chances.shape))
        ]
    )
    np.testing.assert_allclose(crops.chances.ravel(), (counts / counts.sum(axis=0)).mean(axis=1), atol=1e-12)


def test_crops_are_drawn_as_often_as_they_should() -> None:
    crops = VisitCrops(random_samples((9, 8, 7), 5, 30), GEOMETRIES["two steps a crop"])
    rng, n = np.random.default_rng(0), 4000
    drawn = [crops.draw(rng) for _ in range(n)]
    for origin in np.ndindex(crops.chances.shape):
        chance = crops.chances[origin]
        assert abs(drawn.count(crops.start_of(origin)) - n * chance) <= 4.5 * np.sqrt(n * chance * (1 - chance))


def test_a_crop_is_what_slicing_gives() -> None:
    samples, geometry = random_samples((13, 9, 11), 17, 40), GEOMETRIES["two steps a crop"]
    crop = VisitCrops(samples, geometry).read((-4, 4, 8))
    around = 16
    box = tuple(slice(edge + around, edge + around + 8) for edge in (-4, 4, 8))
    for found, mask in ((crop.lesion, samples.visit.lesion), (crop.negative, samples.negative)):
        np.testing.assert_array_equal(found, np.pad(mask, around)[box])
    padded = np.pad(samples.visit.channels, [(0, 0), *[(around, around)] * 3])
    for view, scale in zip(crop.views, geometry.scales, strict=True):
        cells = tuple(slice(edge.start // scale - 2, edge.stop // scale + 2) for edge in box)
        np.testing.assert_allclose(view, coarsen(padded, scale)[(slice(None), *cells)], atol=1e-6)


def test_a_batch_has_the_voxels_of_its_crops() -> None:
    samples, geometry = random_samples((13, 9, 11), 17, 40), CropGeometry(8, 4, (1, 2), 2, 1)
    pool = CropPool([samples], geometry, PLAIN)
    (batch,) = pool.batches(1, np.random.default_rng(0), augment=False)
    crops, rng = VisitCrops(samples, geometry), np.random.default_rng(0)
    rng.choice(1, 4, p=[1.0])
    expected = [crops.read(crops.draw(rng)) for _ in range(4)]
    assert [view.shape for view in batch.views] == [(4, 2, 11, 11, 11), (4, 2, 7, 7, 7)]
    for (number, *voxel), label, weight in zip(batch.voxels.tolist(), batch.labels, batch.weights, strict=True):
        crop = expected[number]
        assert label == crop.lesion[tuple(voxel)]
        assert weight == pytest.approx(crop.weight[tuple(voxel)] / 4)
        place = tuple(edge + geometry.before for edge in voxel)
        np.testing.assert_array_equal(
            batch.views[0][number][(slice(None), *place)], crop.views[0][(slice(None), *place)]
        )
    assert len(batch.voxels) == sum(int((crop.lesion | crop.negative).sum()) for crop in expected)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 1), (5, 4)])
@pytest.mark.parametrize("scales", [(1,), (1, 2, 4)])
def test_mirrored_crops_hold_what_lies_around_each_voxel_mirrored(scales, before: int, after: int) -> None:
    """Every view, mask and weight by the same axes: each voxel's own intensity, label and weight stay together."""
    shape = (16, 17, 18)
    samples = random_samples(shape, 60, 80)
    # Intensities that tell the coarse voxel, of the coarsest scale, in which they lie.
    cells = np.indices(shape) // max(scales)
    channels = np.stack([1 + cells[0] + 10 * cells[1] + 100 * cells[2], samples.visit.lesion]).astype(np.float32)
    samples = Samples.of(replace(samples.visit, channels=channels), samples.negative)
    geometry = CropGeometry(8, 4, scales, before, after)
    pool = CropPool([samples], geometry, replace(PLAIN, batch_size=30))
    (batch,) = pool.batches(1, np.random.default_rng(0))
    crops = VisitCrops(samples, geometry)
    by_counts = defaultdict(list)  # of voxels and of lesion voxels, which mirroring leaves alone
    for origin in zip(*np.nonzero(crops.chances), strict=True):
        crop = crops.read(crops.start_of(origin))
        by_counts[(crop.lesion | crop.negative).sum(), crop.lesion.sum()].append(crop)
    seen = set()
    for number in range(30):
        mine = batch.voxels[:, 0] == number
        first = batch.views[0][number][(slice(None), *[slice(before, before + 8)] * 3)]
        voxels, labels, weights = batch.voxels[mine, 1:], batch.labels[mine], batch.weights[mine]
        np.testing.assert_array_equal(first[1][tuple(voxels.T)], labels)
        for view, scale in zip(batch.views, scales, strict=True):
            inner = view[number][(slice(None), *[slice(before, before + 8 // scale)] * 3)]
            np.testing.assert_allclose(inner, coarsen(first, scale), rtol=1e-5)
        # One of the visit's crops, mirrored as a whole, is this one, with what surrounds it and with its weights.
        (axes, crop), *_ = (
            (axes, crop)
            for crop in by_counts[len(labels), labels.sum()]
            for axes in ((), *FLIPS)
            if all(
                np.array_equal(np.flip(whole, axes)[(..., *[slice(view.shape[-1])] * 3)], view[number])
                for whole, view in zip(crop.views, batch.views, strict=True)
            )
        )
        seen.add(axes)
        np.testing.assert_allclose(np.flip(crop.weight, axes)[tuple(voxels.T)] / 30, weights, rtol=1e-6)
    assert () in seen
    assert len(seen) > 5


def test_half_of_the_crops_are_mirrored_and_all_are_changed_in_intensity() -> None:
    visit = make_visit("a", 0)
    samples = first_stage_samples(visit, CONFIG)
    geometry, config = CropGeometry(8, 8, (1, 2), 2, 2), TrainingConfig(gain=1.5, shift=0.2, batch_size=200)
    (plain,) = CropPool([samples], geometry, replace(config, gain=1.0, shift=0.0)).batches(1, np.random.default_rng(0))
    (changed,) = CropPool([samples], geometry, config).batches(1, np.random.default_rng(0))
    np.testing.assert_array_equal(plain.voxels, changed.voxels)
    inner = [view[(..., *[slice(2, 2 + 8 // scale)] * 3)] for view, scale in zip(changed.views, (1, 2), strict=True)]
    assert (inner[0] == 0).any()
    for fine, coarse in zip(*inner, strict=True):
        np.testing.assert_allclose(coarse, coarsen(fine, 2), atol=1e-5)
    gains, shifts = [], []
    for before, after in zip(plain.views[0], changed.views[0], strict=True):
        for one, other in zip(before, after, strict=True):
            inside = one != 0
            np.testing.assert_array_equal(other[~inside], 0)
            gain, shift = np.polyfit(one[inside] - 1, other[inside] - 1, 1)
            np.testing.assert_allclose(other[inside], 1 + gain * (one[inside] - 1) + shift, atol=1e-4)
            gains.append(gain)
            shifts.append(shift)
    assert 1 / 1.5 - 1e-3 < min(gains) < 0.75
    assert 1.35 < max(gains) < 1.5 + 1e-3
    assert np.median(gains) == pytest.approx(1, abs=0.06)  # in the middle of logarithms
    assert -0.2 - 1e-3 < min(shifts) < -0.18
    assert 0.18 < max(shifts) < 0.2 + 1e-3
    # The same crops not augmented: half of them are as they were.
    rng, crops = np.random.default_rng(0), VisitCrops(samples, geometry)
    same = 0
    rng.choice(1, 200, p=[1.0])
    for view in plain.views[0]:
        whole = crops.read(crops.draw(rng)).views[0]
        rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 2)
        if rng.random() < 0.5:
            rng.integers(len(FLIPS))
        same += np.array_equal(whole, view)
    assert 75 < same < 125


def test_a_crop_as_it_is_when_not_augmented_and_the_same_for_equal_seeds() -> None:
    pool = CropPool([random_samples((13, 9, 11), 17, 40)], GEOMETRIES["two steps a crop"], TrainingConfig())
    one, again, other = (list(pool.batches(2, np.random.default_rng(seed))) for seed in (0, 0, 1))
    for a, b in zip(one, again, strict=True):
        for first, second in zip((*a.views, a.voxels, a.weights), (*b.views, b.voxels, b.weights), strict=True):
            np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(a.views[0], b.views[0]) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("n_lesion", "n_negative", "largest", "weight"),
    [(10, 40, 1, 1), (10, 40, 2, 2), (10, 25, 4, 2.5), (40, 10, 4, 1), (0, 3, 4, 3), (0, 30, 4, 4), (5, 0, 4, 0)],
)
def test_the_others_weigh_as_much_as_lesions_or_as_they_are_more(
    n_lesion: int, n_negative: int, largest: float, weight: float
) -> None:
    """In one crop that holds all: the sum of the weights is 1 for lesions and that of the others beside it."""
    samples = random_samples((4, 4, 4), n_lesion, n_negative)
    config = replace(PLAIN, largest_negative_weight=largest, batch_size=1)
    (batch,) = CropPool([samples], CropGeometry(4, 4, (1,), 0, 0), config).batches(1, np.random.default_rng(0))
    assert batch.weights[batch.labels == 1].sum() == pytest.approx(float(n_lesion > 0))
    assert batch.weights[batch.labels == 0].sum() == pytest.approx(weight)


def test_visits_are_drawn_by_the_root_of_their_lesions_and_the_synthetic_fraction() -> None:
    geometry = GEOMETRIES["one step a crop"]
    sizes = [(1600, False), (6400, False), (900, True), (0, True)]
    samples = [random_samples((20, 20, 20), n, 100, synthetic=synthetic) for n, synthetic in sizes]
    pool = CropPool(samples, geometry, TrainingConfig(synthetic_fraction=0.7))
    # Roots: 40 and 80; 30 and, as few count as 400, 20.
    np.testing.assert_allclose(pool.chances, [0.1, 0.2, 0.42, 0.28])
    for kind in (slice(2), slice(2, 4)):
        alone = CropPool(samples[kind], geometry, TrainingConfig(synthetic_fraction=0.7)).chances
        np.testing.assert_allclose(alone, pool.chances[kind] / pool.chances[kind].sum())


def test_visits_without_a_lesion_are_drawn_by_their_fraction_of_the_synthetic_ones() -> None:
    geometry = GEOMETRIES["one step a crop"]
    sizes = [(900, False), (0, False), (900, True), (400, True), (0, True), (0, True)]
    samples = [random_samples((20, 20, 20), n, 100, synthetic=synthetic) for n, synthetic in sizes]
    config = TrainingConfig(synthetic_fraction=0.5, lesion_free_fraction=0.2)
    np.testing.assert_allclose(CropPool(samples, geometry, config).chances, [0.3, 0.2, 0.24, 0.16, 0.05, 0.05])
    for kind in (slice(4), slice(4, 6)):  # nothing to share with
        alone = CropPool(samples[kind], geometry, config).chances
        np.testing.assert_allclose(
            alone, CropPool(samples[kind], geometry, replace(config, lesion_free_fraction=None)).chances
        )


def test_visits_without_samples_are_never_drawn() -> None:
    nothing, something = random_samples((8, 8, 8), 0, 0), random_samples((8, 8, 8), 3, 3)
    pool = CropPool([nothing, something], GEOMETRIES["one step a crop"], PLAIN)
    assert [one.samples for one in pool.visits] == [something]
    assert all(len(batch.voxels) for batch in pool.batches(3, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("crop_size", "scales", "step"),
    [
        (24, (1, 2, 4), 8),
        (24, (1,), 8),
        (8, (1, 2), 8),
        (12, (1, 2, 4), 4),
        (7, (1,), 7),
        (11, (1,), 1),
        (18, (2, 3), 6),
    ],
)
def test_steps_of_crops(crop_size: int, scales: tuple[int, ...], step: int) -> None:
    network = build_network(NetworkConfig(1, patch_size=7, features=(2,), scales=scales, dense=()), 0)
    geometry = crop_geometry(network, TrainingConfig(crop_size=crop_size))
    assert geometry == CropGeometry(crop_size, step, scales, network.before, network.after)


@pytest.mark.parametrize("crop_size", [0, 10])
def test_crops_of_no_whole_coarse_voxels_are_refused(crop_size: int) -> None:
    network = build_network(NetworkConfig(1, scales=(1, 2, 4)), 0)
    with pytest.raises(
        ValueError, match=rf"the crop size is {crop_size}; expected a multiple of 4, for scales \(1, 2, 4\)"
    ):
        crop_geometry(network, TrainingConfig(crop_size=crop_size))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_expected_loss_weighs_each_component(power: float) -> None:
    rng, shape = np.random.default_rng(0), (12, 10, 9)
    lesion = np.zeros(shape, bool)
    lesion[1:6, 1:5, 1:4] = lesion[9, 8, 7] = lesion[10, 1:3, 6] = True
    other = ~lesion & (rng.random(shape) < 0.05)
    visit = LabelledVisit("one", rng.random((1, *shape), np.float32), np.ones(shape, bool), lesion)
    geometry = GEOMETRIES["two steps a crop"]
    crops = VisitCrops(Samples.of(visit, other, false_positives=True), geometry, power)
    loss = rng.random(shape)
    expected = np.average(loss[lesion], weights=component_weights(lesion, power))
    expected += 2 * np.average(loss[other], weights=component_weights(other, power))
    total = 0.0
    for origin, chance in np.ndenumerate(crops.chances):
        start = crops.start_of(origin)
        box = [slice(edge, edge + geometry.size) for edge in start]
        total += chance * float((crops.read(start, 2.0).weight * read_box(loss[None], box)[0]).sum())
    assert total == pytest.approx(expected, rel=1e-5)


def test_nothing_is_learnt_from_ignored_voxels() -> None:
    rng, shape = np.random.default_rng(0), (8, 8, 8)
    lesion, ignored = (rng.random(shape) < part for part in (0.2, 0.5))
    visit = LabelledVisit("one", np.ones((1, *shape), np.float32), np.ones(shape, bool), lesion, ignored=ignored)
    samples = Samples.of(visit, np.ones(shape, bool))
    assert not (samples.lesion & ignored).any()
    assert not (samples.negative & ignored).any()
    assert (samples.lesion | samples.negative | ignored).all()
    crop = VisitCrops(samples, GEOMETRIES["two steps a crop"]).read((0, 0, 0))
    np.testing.assert_array_equal(crop.lesion | crop.negative, ~ignored)


def test_some_crops_lack_optional_sequences() -> None:
    visit = make_visit("a", 0)
    samples, geometry = first_stage_samples(visit, CONFIG), CropGeometry(8, 8, (1, 2), 2, 2)
    config = replace(PLAIN, batch_size=200, sequence_dropout=0.3)
    (batch,) = CropPool([samples], geometry, config, [0]).batches(1, np.random.default_rng(0))
    t1w, flair = (batch.views[0][:, channel].reshape(200, -1) for channel in (0, 1))
    absent = ~t1w.any(axis=1) & flair.any(axis=1)
    assert 0.2 < absent.mean() < 0.4
    assert not batch.views[1][absent, 0].any()
    (plain,) = CropPool([samples], geometry, config).batches(1, np.random.default_rng(0))
    assert (
        plain.views[0][:, 0].reshape(200, -1).any(axis=1) | ~plain.views[0][:, 1].reshape(200, -1).any(axis=1)
    ).all()


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_crops_of_a_visit_that_lacks_a_sequence_never_have_it(dropout: float) -> None:
    """Neither scaling nor shifting makes anything of nothing."""
    whole = make_visit("a", 0)
    channels = np.array(whole.channels)
    channels[0] = 0
    visits = (whole, replace(whole, subject="b", channels=channels, absent=(0,)))
    geometry, config = CropGeometry(8, 8, (1, 2), 2, 2), TrainingConfig(batch_size=60, sequence_dropout=dropout)
    lone = first_stage_samples(visits[1], CONFIG)
    (batch,) = CropPool([lone], geometry, config, [0]).batches(1, np.random.default_rng(0))
    assert not any(view[:, 0].any() for view in batch.views)
    assert all(view[:, 1].any() for view in batch.views)
    both = CropPool([first_stage_samples(visit, CONFIG) for visit in visits], geometry, config, [0])
    (batch,) = both.batches(1, np.random.default_rng(0))
    there = batch.views[0][:, 0].reshape(60, -1).any(axis=1)
    assert not there.any() if dropout else 10 < there.sum() < 50


def test_what_is_left_of_a_crop_is_shifted_further() -> None:
    """Without the T1w image, the level of white matter in FLAIR is less sure; fluid outside the brain stays 0."""
    visit = make_visit("a", 0)
    samples, geometry = first_stage_samples(visit, CONFIG), CropGeometry(8, 8, (1, 2), 2, 2)
    crop = VisitCrops(samples, geometry).read((0, 0, 0))
    left = _without(crop, [0], np.random.default_rng(0))
    inside = crop.covered[0][0] == 1
    moved = (left.views[0][1] - crop.views[0][1])[inside]
    assert 0 < abs(moved[0]) <= _LONE_SHIFT
    np.testing.assert_allclose(moved, moved[0], atol=1e-6)
    np.testing.assert_array_equal(left.views[0][1][crop.covered[0][0] == 0], crop.views[0][1][crop.covered[0][0] == 0])
    assert _without(crop, [], np.random.default_rng(0)) is crop


def test_only_the_chosen_fraction_of_crops_varies_in_appearance() -> None:
    visit = make_visit("a", 0)
    even = replace(visit, channels=np.ones_like(visit.channels) * visit.brain)
    samples = replace(first_stage_samples(visit, CONFIG), visit=even)
    geometry, config = CropGeometry(8, 8, (1, 2), 2, 2), replace(PLAIN, batch_size=200, appearance_fraction=0.3)
    (batch,) = CropPool([samples], geometry, config).batches(1, np.random.default_rng(0))
    varied = [not np.isin(view, (0, 1)).all() for view in batch.views[0]]
    assert 40 < sum(varied) < 80
