import numpy as np
import pytest

from bids_cascade.cascade.samples import LabelledVisit, Samples
from bids_cascade.config import NetworkConfig, TrainingConfig

TINY = NetworkConfig(2, patch_size=7, features=(6,), scales=(1, 2), dense=(8,))
SHORT = TrainingConfig(max_epochs=3, crops_per_epoch=12, batch_size=3, crop_size=8)


def make_visit(subject: str, seed: int, size: int = 24, **more) -> LabelledVisit:
    """Return a noisy ball of brain, white matter 1, with bright cubic lesions, and bright bars that are none."""
    rng = np.random.default_rng(seed)
    shape = (size, size, size)
    distance = np.linalg.norm(np.indices(shape) - size / 2, axis=0)
    brain = distance < size / 2 - 2
    lesion = np.zeros(shape, bool)
    channels = 1 + rng.normal(0, 0.08, (2, *shape)).astype(np.float32)
    for _ in range(4):
        x, y, z = rng.integers(6, size - 9, 3)
        lesion[x : x + 3, y : y + 3, z : z + 3] = True
        bar = rng.integers(6, size - 9, 2)
        channels[1, bar[0], bar[1], 4:-4] += 0.6
    channels[1][lesion] += 0.75
    channels[0][lesion] -= 0.25
    channels[:, ~brain] = 0
    return LabelledVisit(subject, channels, brain, lesion & brain, **more)


def random_samples(shape: tuple[int, int, int], n_lesion: int, n_negative: int, **more) -> Samples:
    """Return samples at random places of a volume of noise."""
    rng = np.random.default_rng(0)
    lesion, negative = np.zeros(shape, bool), np.zeros(shape, bool)
    places = rng.permutation(lesion.size)
    lesion.flat[places[:n_lesion]], negative.flat[places[n_lesion : n_lesion + n_negative]] = True, True
    visit = LabelledVisit("a", rng.normal(size=(2, *shape)).astype(np.float32), np.ones(shape, bool), lesion, **more)
    return Samples.of(visit, negative)


@pytest.fixture(scope="session")
def visits() -> list[LabelledVisit]:
    return [make_visit(name, seed) for seed, name in enumerate("abcd")]
