from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.cascade.calibration import calibrate, scan_offset
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, NetworkConfig
from bids_cascade.training.calibrate import fit_to_visits

TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())


def random_visit(seed: int) -> LabelledVisit:
    rng = np.random.default_rng(seed)
    channels = rng.normal(1.3, 0.3, (2, 14, 14, 14)).astype(np.float32)
    return LabelledVisit("a", channels, np.ones((14,) * 3, bool), np.zeros((14,) * 3, bool))


@pytest.mark.parametrize(("weight", "of_first"), [(0.0, 0.0), (0.4, 0.0), (0.4, 0.5)])
def test_the_calibration_that_labels_were_drawn_by_is_found(weight: float, of_first: float) -> None:
    config = CascadeConfig(gate_probability=0.1, hard_negative_probability=0.05, calibration=(3.0, 3.0))
    cascade = Cascade(config, (build_network(TINY, 0).eval(), build_network(TINY, 1).eval()))
    plain = Ensemble((replace(cascade, config=replace(config, calibration=(1.0, 0.0))),))
    visits = []
    for seed in range(6):
        visit, rng = random_visit(seed), np.random.default_rng(seed)
        raw = segment_by_ensemble(plain, visit.channels, visit.brain)
        true = calibrate(raw.final, (2.0, -0.5), scan_offset(raw.first, raw.final, weight, of_first))
        visits.append(replace(visit, lesion=rng.random(true.shape) < true))
    fitted = fit_to_visits(Ensemble((cascade,)), visits, weight, of_first)
    assert fitted.slope == pytest.approx(2.0, abs=0.5)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.15)
    tenths = fitted.curve.n > 300
    assert tenths.any()
    np.testing.assert_allclose(fitted.curve.mean_probability[tenths], fitted.curve.lesion_fraction[tenths], atol=0.05)
