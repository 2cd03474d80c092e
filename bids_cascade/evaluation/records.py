"""The records of an evaluation: of each visit, and summaries over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_cascade.evaluation.bootstrap import (
    Estimate,
    SizeSummary,
    Summary,
    agreement_over_cohort,
    summarise,
    summarise_sizes,
)
from bids_cascade.evaluation.columns import (
    LEARNT_FROM,
)
from bids_cascade.evaluation.matching import MEASURES, Agreement, MatchedLesion
from bids_cascade.visit_key import VisitKey


@dataclass(frozen=True)
class Origin:
    """The origin of a predicted mask; None for what its sidecar doesn't say.

    Attributes
    ----------
    model_name, model_sha256 : str or None
    threshold : float or None
    learnt_from : str or None
        One of :data:`bids_cascade.evaluation.columns.LEARNT_FROM`.
    """

    model_name: str | None = None
    model_sha256: str | None = None
    threshold: float | None = None
    learnt_from: str | None = None

    @property
    def text(self) -> str:
        """Model and threshold in a line."""
        model = "a model that the masks' sidecars do not name"
        if self.model_name is not None:
            model = f"model {self.model_name} (SHA-256 {self.model_sha256 or 'not stated'})"
        return f"{model}, threshold {'not stated' if self.threshold is None else format(self.threshold, 'g')}"


@dataclass(frozen=True, eq=False)
class EvaluatedVisit(VisitKey):
    """One visit's predicted mask beside its reference.

    Attributes
    ----------
    reference, predicted : Path
        The masks that were compared.
    background : Path or None
        A scan on their grid.
    agreement : Agreement
    origin : Origin
        Of the predicted mask.
    """

    reference: Path
    predicted: Path
    background: Path | None
    agreement: Agreement
    origin: Origin = Origin()


@dataclass(frozen=True)
class Evaluation:
    """The content of an evaluation's page.

    Attributes
    ----------
    title : str
        Of the page.
    compared : str
        The datasets that were compared.
    visits : sequence of EvaluatedVisit
        At least one.
    not_evaluated : mapping of str to str
        Reasons why visits were not compared, by name.
    seed : int
        Of the bootstrap.
    """

    title: str
    compared: str
    visits: Sequence[EvaluatedVisit]
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def subjects(self) -> list[str]:
        """The subject of each visit."""
        return [visit.participant for visit in self.visits]

    @property
    def measures(self) -> list[dict[str, float]]:
        """The measures of each visit."""
        return [visit.agreement.measures for visit in self.visits]

    @property
    def lesions(self) -> list[list[MatchedLesion]]:
        """The matched lesions of each visit."""
        return [visit.agreement.lesions for visit in self.visits]

    @property
    def origins(self) -> dict[str, int]:
        """The origins of the predicted masks, with their numbers of visits."""
        return dict(Counter(visit.origin.text for visit in self.visits))

    @property
    def learnt_from(self) -> dict[str, list[str]]:
        """Names of the visits that the model was, or may have been, trained on, by the column's value."""
        names: dict[str, list[str]] = {}
        for visit in self.visits:
            if visit.origin.learnt_from in ("visit", "participant"):
                names.setdefault(LEARNT_FROM[visit.origin.learnt_from], []).append(visit.name)
        return names

    @property
    def n_unknown(self) -> int:
        """Number of visits for which it is unknown whether the model was trained on them."""
        return sum(visit.origin.learnt_from is None for visit in self.visits)


@dataclass(frozen=True)
class Summaries:
    """Summaries over the visits of an evaluation."""

    measures: Mapping[str, Summary]
    sizes: Mapping[str, SizeSummary]
    agreement: Mapping[str, Estimate]


def summarise_evaluation(evaluation: Evaluation) -> Summaries:
    """Return the summaries over visits, with bootstrap intervals where there are enough participants."""
    subjects, seed = evaluation.subjects, evaluation.seed
    return Summaries(
        summarise_measures(evaluation.measures, subjects, seed),
        summarise_sizes(evaluation.lesions, subjects, seed),
        agreement_over_cohort(evaluation.measures, subjects, seed),
    )


def summarise_measures(
    measures: Sequence[Mapping[str, float]], subjects: Sequence[str], seed: int
) -> dict[str, Summary]:
    """Return each measure's summary over the visits, in the order of the table of visits."""
    return {name: summarise([measured[name] for measured in measures], subjects, seed) for name in MEASURES}


SCORES = ("dice", "sensitivity", "precision", "lesion_sensitivity", "lesion_precision", "lesion_f1")
"""The measures from 0 to 1 that are plotted by visit."""
