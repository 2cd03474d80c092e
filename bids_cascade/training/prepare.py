"""Labelled visits on the model's grid: what training starts from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.doubt import doubtful_lesions
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.config import Inputs, RunConfig, TrainConfig, needed_sequences
from bids_cascade.dataset.labels import find_labels
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.flags import reasons_of
from bids_cascade.lesions.components import label_lesions
from bids_cascade.lesions.sizes import count_clinical
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.selection.check import check_visits
from bids_cascade.selection.claim import claimed
from bids_cascade.selection.find import Remedy, find_selected
from bids_cascade.workflow.run import run_graphs, step_folder
from bids_cascade.workflow.visit import Preprocessing, labelled_graph
from bids_cascade.workflow.visit_run import VisitRun, unfinished_outcome

_LOGGER = logging.getLogger(__name__)

_DROPOUT = "--sequence-dropout 0.25"
"""How a model learns to do without sequences; the packaged model was trained so."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A labelled visit on the model's grid.

    Attributes
    ----------
    visit : Visit
    data : LabelledVisit
    affine : (4, 4) ndarray
        Of the model's grid: voxel to RAS+ mm of the T1w image's world, or of the FLAIR's if there is no T1w.
    sha256 : str
        Of all voxels.
    """

    visit: Visit
    data: LabelledVisit
    affine: NDArray[np.float64]
    sha256: str

    @property
    def name(self) -> str:
        """Such as ``sub-01_ses-1``."""
        return self.visit.name


def find_labelled(inputs: Inputs, config: TrainConfig) -> tuple[list[Visit], dict[str, Path]]:
    """Return the selected visits with a manual mask, and their masks by name of the visit; log the others.

    Raises
    ------
    MissingInputError
        When there is no mask of any visit.
    """
    cascade = config.cascade
    remedy = Remedy(
        tuple(sequence for sequence in needed_sequences(cascade.sequences) if sequence != cascade.candidate_sequence),
        f"with {_DROPOUT}, such visits are used for training, too",
        f"with {_DROPOUT}, or --sequences {cascade.candidate_sequence}, such visits are used for training",
    )
    visits = find_selected(inputs, cascade.sequences, optional=cascade.optional_sequences, remedy=remedy)
    labels = find_labels(config.labels, inputs.bids_dir, visits)
    unlabelled = [visit.name for visit in visits if visit.name not in labels]
    if unlabelled:
        _LOGGER.warning("left out, as there is no lesion mask: %s", ", ".join(unlabelled))
    return [visit for visit in visits if visit.name in labels], labels


def prepare_visits(
    visits: Sequence[Visit],
    labels: Mapping[str, Path],
    config: TrainConfig,
    run: RunConfig,
    log_dir: Path,
    *,
    wait: bool = False,
) -> tuple[list[Prepared], list[VisitOutcome]]:
    """Preprocess visits and their masks; leave out those that fail.

    Parameters
    ----------
    visits : sequence of Visit
    labels : mapping of str to Path
        Mask by name of the visit.
    config : TrainConfig
    run : RunConfig
        Its work folder keeps the results for later runs.
    log_dir : Path
    wait : bool
        Wait for visits that another run works on, instead of leaving them out.

    Returns
    -------
    prepared : list of Prepared
    results : list of VisitOutcome
        Outcome of each visit, also of those left out.
    """
    preprocessing = Preprocessing(
        sequences=config.cascade.sequences,
        voxel_size_mm=config.cascade.voxel_size_mm,
        skull_strip=config.skull_strip,
        seed=config.training.seed,
        omp_nthreads=run.omp_nthreads,
        normalisation=config.cascade.normalisation,
    )
    checked = check_visits(visits, run.n_procs, guess_orientation=config.guess_orientation, masks=labels)
    with claimed(checked.ready, run.work_dir, wait=wait) as (ready, in_use):
        results = checked.refused | in_use
        graphs = [labelled_graph(visit, preprocessing, labels[visit.name]) for visit in ready]
        runs = run_graphs(graphs, {visit.slug: visit.name for visit in ready}, run, log_dir)
        prepared = []
        for visit, graph in zip(ready, graphs, strict=True):
            if not runs[visit.slug].finished:
                results[visit.name] = unfinished_outcome(visit.name, runs[visit.slug])
                continue
            labelled = _read(visit, step_folder(graph, "channels", run), step_folder(graph, "lesion", run), config)
            result = _result(labelled, runs[visit.slug], config.cascade.voxel_size_mm, labels)
            results[visit.name] = result.with_warnings(reasons_of(checked.flags[visit.name]))
            prepared.append(labelled)
    return prepared, [results[visit.name] for visit in visits]


def _read(visit: Visit, channels_dir: Path, lesion_dir: Path, config: TrainConfig) -> Prepared:
    brain_image = nib.Nifti1Image.from_filename(channels_dir / "brain.nii")
    channels = np.load(channels_dir / "channels.npy", mmap_mode="r")
    brain = _mapped_mask(brain_image)
    lesion = _mapped_mask(nib.Nifti1Image.from_filename(lesion_dir / "lesion.nii"))
    flair = channels[config.cascade.sequences.index(config.cascade.candidate_sequence)]
    doubtful = doubtful_lesions(flair, brain, lesion, config.training.least_contrast, config.cascade.voxel_size_mm)
    absent = tuple(config.cascade.sequences.index(sequence) for sequence in visit.absent)
    data = LabelledVisit(visit.participant, channels, brain, lesion, ignored=doubtful, absent=absent)
    digest = hashlib.sha256()
    for array in (data.channels, data.brain, data.lesion):
        digest.update(np.ascontiguousarray(array).data)
    return Prepared(visit, data, brain_image.affine, digest.hexdigest())


def _result(visit: Prepared, done: VisitRun, voxel_size_mm: float, labels: Mapping[str, Path]) -> VisitOutcome:
    labels_of_lesions, n_lesions = label_lesions(visit.data.lesion)
    volumes_mm3 = np.bincount(labels_of_lesions.ravel())[1:] * voxel_size_mm**3
    message = "" if n_lesions else f"{labels[visit.name]}: the mask has no lesion, so it can't be used for training"
    volume_ml = float(visit.data.lesion.sum()) * voxel_size_mm**3 / 1000
    return VisitOutcome(
        visit.name,
        message=message,
        n_lesions=n_lesions,
        n_lesions_14mm3=count_clinical(volumes_mm3),
        volume_ml=volume_ml,
        seconds=done.seconds,
    )


def _mapped_mask(image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Return a mask of this app, uncompressed uint8, as memory-mapped bool (X, Y, Z)."""
    return np.asanyarray(image.dataobj).view(np.bool_)
