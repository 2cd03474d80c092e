"""The pages of several participants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_cascade.errors import BidsCascadeError
from bids_cascade.progress_bar import progress_bar
from bids_cascade.report.participant import write_participant_page


def write_participant_pages(out_dir: Path, participants: Sequence[str]) -> dict[str, BidsCascadeError]:
    """Write the page of each participant; one that fails does not stop the others.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    participants : sequence of str
        Labels.

    Returns
    -------
    dict of str to BidsCascadeError
        Why a page could not be written, by label.
    """
    failed = {}
    with progress_bar(len(participants), "pages") as bar:
        for participant in participants:
            try:
                write_participant_page(out_dir, participant)
            except BidsCascadeError as error:
                failed[participant] = error
            bar.update()
    return failed
