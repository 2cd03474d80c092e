"""The files of the group level's tables, with their dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bids_cascade import __version__
from bids_cascade.cohort.columns import LESION_COLUMNS, SUMMARY_COLUMNS, VISIT_COLUMNS
from bids_cascade.cohort.tables import GroupVisit, lesion_rows, number_processings, summary_rows, without_unused
from bids_cascade.config import Inputs
from bids_cascade.dataset.tables import JoinedColumns
from bids_cascade.derivatives.files import write_tsv


def write_tables(
    visits: Sequence[GroupVisit], rows: Sequence[dict[str, Any]], joined: JoinedColumns, inputs: Inputs
) -> None:
    """Write the tables of visits, of lesions and of the summary into the output folder.

    Parameters
    ----------
    visits : sequence of GroupVisit
    rows : sequence of dict
        Of the table of visits.
    joined : JoinedColumns
        Of the raw dataset's tables, which the table of visits has, too.
    inputs : Inputs
    """
    common = {
        "GeneratedByVersion": __version__,
        "Selection": {"Participants": inputs.selection.participants, "Sessions": inputs.selection.sessions},
        "Processings": {str(number): asdict(processing) for processing, number in number_processings(visits).items()},
    }
    columns = {**without_unused(VISIT_COLUMNS, visits), **joined.descriptions}
    of_lesions = without_unused(LESION_COLUMNS, visits)
    out = inputs.out_dir
    write_tsv(rows, list(columns), out / "group_visits.tsv", columns | common)
    write_tsv(lesion_rows(visits), list(of_lesions), out / "group_lesions.tsv", of_lesions | common)
    write_tsv(summary_rows(rows), list(SUMMARY_COLUMNS), out / "group_summary.tsv", SUMMARY_COLUMNS | common)
