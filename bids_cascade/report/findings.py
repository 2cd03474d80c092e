"""The lesions of a visit on the grid of the sequence on which they are displayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib

from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.scan import Scan
from bids_cascade.lesions.components import Lesion
from bids_cascade.lesions.visit import VisitLesions


@dataclass(frozen=True, eq=False)
class Findings:
    """The lesions of a visit, and the sequence on which they are displayed.

    Attributes
    ----------
    name : str
        Of the sequence.
    scan : Scan
    lesion, probability, first_probability : nibabel.Nifti1Image
        Lesion mask, and probability of lesion by the whole cascade and by stage 1, on the grid of the scan.
    gate : pair of float
        Lower and higher probability of stage 1 for :func:`bids_cascade.cascade.gate.open_gate`.
    labels : nibabel.Nifti1Image
        Numbers of the lesions, on the grid of the T1w image.
    lesions : sequence of Lesion
    locations : sequence of str
        Where each lesion is; empty where that is not known.
    uncertainty : nibabel.Nifti1Image, optional
        Disagreement of a model's several cascades, on the grid of the scan.
    t1w : nibabel.Nifti1Image, optional
        The T1w image on the grid of the scan; None if that is the T1w image.
    """

    name: str
    scan: Scan
    lesion: nib.Nifti1Image
    probability: nib.Nifti1Image
    first_probability: nib.Nifti1Image
    gate: tuple[float, float]
    labels: nib.Nifti1Image
    lesions: Sequence[Lesion]
    locations: Sequence[str] = ()
    uncertainty: nib.Nifti1Image | None = None
    t1w: nib.Nifti1Image | None = None


def gather_findings(
    name: str,
    scan: Scan,
    lesions: VisitLesions,
    maps: Mapping[str, nib.Nifti1Image],
    gate: tuple[float, float],
    locations: Sequence[str] = (),
) -> Findings:
    """Bring the findings of a visit onto the grid of the displayed sequence.

    Parameters
    ----------
    name : str
        Of the sequence.
    scan : Scan
    lesions : VisitLesions
        Found on the sequence's own grid as well.
    maps : mapping of str to nibabel.Nifti1Image
        In the world of the T1w image: ``first_probability`` and, if there are, ``uncertainty`` and ``t1w``.
    gate : pair of float
    locations : sequence of str
        Where each lesion is; empty where that is not known.
    """
    moved = {field: resample(image, grid_of(scan.image), 1, scan.own_to_t1w) for field, image in maps.items()}
    return Findings(
        name=name,
        scan=scan,
        lesion=nib.as_closest_canonical(lesions.mask[name]),
        probability=nib.as_closest_canonical(lesions.probability[name]),
        first_probability=moved["first_probability"],
        gate=gate,
        labels=lesions.labels,
        lesions=lesions.table,
        locations=locations,
        uncertainty=moved.get("uncertainty"),
        t1w=moved.get("t1w"),
    )
