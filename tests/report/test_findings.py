from typing import Any

import numpy as np

from bids_cascade.lesions.visit import VisitLesions
from bids_cascade.report.findings import gather_findings


def test_findings_are_brought_onto_the_grid_of_the_sequence(visit_content: Any) -> None:
    found, t1w = visit_content
    own = found.scan.image
    lesions = VisitLesions({"FLAIR": found.probability}, {"FLAIR": found.lesion}, found.labels, list(found.lesions))
    again = gather_findings(
        "FLAIR", found.scan, lesions, {"first_probability": t1w.image, "t1w": t1w.image}, (0.2, 0.8)
    )
    assert (again.name, again.gate, again.uncertainty) == ("FLAIR", (0.2, 0.8), None)
    assert again.lesions == found.lesions
    for image in (again.lesion, again.probability, again.first_probability, again.t1w):
        np.testing.assert_allclose(image.affine, own.affine)
        assert image.shape == own.shape
    # The FLAIR lies 6 mm further to the right, and so does what is brought to it.
    middle = np.argwhere(np.asarray(again.t1w.dataobj) > 150).mean(axis=0)
    expected = np.argwhere(np.asarray(found.lesion.dataobj) > 0).mean(axis=0)
    np.testing.assert_allclose(middle, expected, atol=1)
