"""Pairs of predicted and reference masks, visit by visit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

from bids_cascade.dataset.labels import space_of
from bids_cascade.dataset.tables import read_object
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.learnt import has_learnt_from
from bids_cascade.derivatives.names import sidecar_path
from bids_cascade.derivatives.written import LEARNT_FROM_KEY
from bids_cascade.errors import BadDataError, BidsCascadeError, MissingInputError
from bids_cascade.evaluation.matching import compare_masks
from bids_cascade.evaluation.records import EvaluatedVisit, Origin
from bids_cascade.imaging.grid import in_ras_order
from bids_cascade.imaging.images import load_image, load_mask, mask_of, same_grid, warn_of_guess
from bids_cascade.outcomes import VisitOutcome

_LOGGER = logging.getLogger(__name__)

_SPACES = ("FLAIR", None, "orig", "T1w")
"""Preference among predictions on one grid if none is in the reference's own space: lesions are drawn on FLAIR."""


@dataclass(frozen=True)
class _Mask:
    path: Path
    image: nib.Nifti1Image


def compare_visits(
    visits: Sequence[Visit],
    references: Mapping[str, Sequence[Path]],
    predictions: Mapping[str, Sequence[Path]],
    dataset: str,
) -> tuple[list[EvaluatedVisit], list[VisitOutcome]]:
    """Compare each visit's predicted with its reference mask; a visit that can't be compared doesn't stop the others.

    Parameters
    ----------
    visits : sequence of Visit
        Each with at least one reference mask.
    references, predictions : mapping of str to sequence of Path
        Masks by name of the visit, see :func:`bids_cascade.dataset.labels.find_lesion_masks`.
    dataset : str
        Name of the visits' dataset, by which models record their training visits.

    Returns
    -------
    evaluated : list of EvaluatedVisit
    failed : list of VisitOutcome
        Reasons why the others were not compared.
    """
    evaluated, failed = [], []
    for visit in visits:
        try:
            compared = _compare(visit, references[visit.name], predictions.get(visit.name, ()), dataset)
        except BidsCascadeError as error:
            failed.append(VisitOutcome(visit.name, error.exit_code, str(error)))
        else:
            evaluated.append(compared)
            _LOGGER.info("%s: Dice %.3f (%s)", visit.name, compared.agreement.measures["dice"], compared.predicted.name)
    return evaluated, failed


def _compare(visit: Visit, references: Sequence[Path], predictions: Sequence[Path], dataset: str) -> EvaluatedVisit:
    if not predictions:
        raise MissingInputError(
            "there is no predicted lesion mask of this visit; run the participant level for it, or name others by "
            "--predictions"
        )
    reference, predicted = _pair([_load(path) for path in references], [_load(path) for path in predictions])
    agreement = compare_masks(mask_of(reference.image), mask_of(predicted.image), reference.image.affine)
    if not agreement.measures["reference_volume_ml"]:
        _LOGGER.warning("%s: the reference mask %s has no lesion", visit.name, reference.path)
    return EvaluatedVisit(
        participant=visit.participant,
        session=visit.session,
        reference=reference.path,
        predicted=predicted.path,
        background=_find_background(visit, predicted.path, reference.image),
        agreement=agreement,
        origin=_find_origin(visit, predicted.path, dataset),
    )


def _find_origin(visit: Visit, predicted: Path, dataset: str) -> Origin:
    """Return the model that made a predicted mask, from the mask's sidecar."""
    try:
        sidecar = read_object(sidecar_path(predicted))
    except BidsCascadeError as error:
        _LOGGER.debug("%s: the model is unknown: %s", visit.name, error)
        return Origin()
    name, sha256, threshold = (sidecar.get(key) for key in ("ModelName", "ModelSHA256", "Threshold"))
    return Origin(
        model_name=name if isinstance(name, str) else None,
        model_sha256=sha256 if isinstance(sha256, str) else None,
        threshold=float(threshold) if isinstance(threshold, (int, float)) else None,
        learnt_from=has_learnt_from(visit, dataset, sidecar.get(LEARNT_FROM_KEY)),
    )


def _load(path: Path) -> _Mask:
    warn_of_guess(path)
    return _Mask(path, in_ras_order(load_mask(path)))


def _pair(references: Sequence[_Mask], predictions: Sequence[_Mask]) -> tuple[_Mask, _Mask]:
    """Return the first pair of a reference mask and a predicted one on its grid; nothing is resampled."""
    for reference in references:
        fitting = [prediction for prediction in predictions if same_grid(reference.image, prediction.image)]
        if fitting:
            return reference, min(fitting, key=lambda prediction: _distance(reference.path, prediction.path))
    first = references[0]
    grids = ", ".join(f"{prediction.path.name} ({_grid_text(prediction.image)})" for prediction in predictions)
    raise BadDataError(
        f"{first.path}: the reference mask, {_grid_text(first.image)}, is on the grid of no predicted mask; "
        f"found {grids}; resample one to the grid of the other first"
    )


def _distance(reference: Path, predicted: Path) -> tuple[bool, int, int, str]:
    """Return a key that sorts predicted masks on the reference's grid, best first: its own space, fewest entities."""
    space = space_of(predicted)
    rank = _SPACES.index(space) if space in _SPACES else len(_SPACES)
    return (space != space_of(reference), rank, predicted.name.count("_"), predicted.name)


def _grid_text(image: nib.Nifti1Image) -> str:
    shape = " x ".join(str(length) for length in image.shape)
    sizes = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(image.affine))
    origin = ", ".join(f"{value:.1f}" for value in image.affine[:3, 3])
    return f"{shape} voxels of {sizes} mm from ({origin}) mm"


def _find_background(visit: Visit, predicted: Path, reference: nib.Nifti1Image) -> Path | None:
    """Return the scan on the reference's grid that shows lesions best; None if there is none."""
    raw = [visit.images[sequence].path for sequence in ("FLAIR", "T1w") if sequence in visit.images]
    preprocessed = sorted(predicted.parent.glob(f"{visit.name}_*desc-preproc_FLAIR.nii*"))
    for path in [*raw[:1], *preprocessed, *raw[1:]]:
        try:
            if same_grid(load_image(path), reference):
                return path
        except BidsCascadeError as error:
            _LOGGER.warning("%s: drawn without its scan: %s", visit.name, error)
    return None
