"""Which of a participant's visits are compared with which."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

from bids_cascade.dataset.tables import acquisition_date
from bids_cascade.derivatives.change import FIRST, PREVIOUS, Pair
from bids_cascade.derivatives.read import Processing, list_sessions_with_results, read_results
from bids_cascade.errors import BidsCascadeError
from bids_cascade.visit_key import VisitKey, natural_key

_LOGGER = logging.getLogger(__name__)


def plan_pairs(visits: Sequence[tuple[VisitKey, date | None]]) -> list[Pair]:
    """Return the pairs of a participant's visits to compare, in the order of time.

    Parameters
    ----------
    visits : sequence of (VisitKey, date or None)
        In any order; they are sorted by date if all have one, otherwise by session.

    Returns
    -------
    list of Pair
        Each visit with the previous one and, from the third one on, with the first one.
    """
    dated = all(day for _, day in visits)
    ordered = sorted(visits, key=lambda visit: ((dated and visit[1]) or date.min, natural_key(visit[0].session)))

    def pair(earlier: tuple[VisitKey, date | None], later: tuple[VisitKey, date | None], desc: str) -> Pair:
        days = (later[1] - earlier[1]).days if earlier[1] and later[1] else None
        return Pair(earlier[0], later[0], desc, days)

    pairs = []
    for number, (earlier, later) in enumerate(pairwise(ordered)):
        pairs.append(pair(earlier, later, PREVIOUS))
        if number:
            pairs.append(pair(ordered[0], later, FIRST))
    return pairs


def plan_participant(out_dir: Path, bids_dir: Path, participant: str) -> tuple[dict[VisitKey, Processing], list[Pair]]:
    """Return a participant's readable visits with their processing, and the pairs to compare.

    Parameters
    ----------
    out_dir, bids_dir : Path
        Results, and the raw dataset, whose tables may date the visits.
    participant : str
        Label.

    Returns
    -------
    processings : dict of VisitKey to Processing
        Visits whose results can't be read are left out.
    pairs : list of Pair
        In the order of time.
    """
    processings: dict[VisitKey, Processing] = {}
    for session in list_sessions_with_results(out_dir, participant):
        visit = VisitKey(participant, session)
        try:
            processings[visit] = read_results(out_dir, visit).processing
        except BidsCascadeError as error:
            _LOGGER.debug("%s: not compared: %s", visit.name, error)
    return processings, plan_pairs([(visit, acquisition_date(bids_dir, visit)) for visit in processings])
