"""The group level: tables and a page of all visits' results; nothing is recomputed."""

from __future__ import annotations

from bids_cascade.cohort.columns import VISIT_COLUMNS
from bids_cascade.cohort.files import write_tables
from bids_cascade.cohort.selection import describe_selection, group_participants, list_without_folder, select_visits
from bids_cascade.cohort.summary import closing_text, exit_code_of_visits
from bids_cascade.cohort.tables import visit_rows
from bids_cascade.cohort.visits import read_visits
from bids_cascade.config import Inputs
from bids_cascade.dataset.description import read_raw_description
from bids_cascade.dataset.layout import list_visits
from bids_cascade.dataset.tables import join_columns
from bids_cascade.derivatives.read import list_results
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import BidsCascadeError
from bids_cascade.report.frequency import write_frequency_maps
from bids_cascade.report.group_page import write_group_page
from bids_cascade.surroundings import say


def run_group(inputs: Inputs, group_by: str | None = None) -> int:
    """Write the tables, the maps and the page of all selected visits, with or without results; return the exit code.

    Parameters
    ----------
    inputs : Inputs
    group_by : str, optional
        Column of participants.tsv: a map of lesion frequency is also made for each of its values.

    Raises
    ------
    UsageError
        When participants.tsv lacks the column.
    """
    description = read_raw_description(inputs.bids_dir)
    images = list_visits(inputs.bids_dir)
    keys = select_visits({*images, *list_results(inputs.out_dir)}, inputs)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    joined = join_columns(inputs.bids_dir, keys, list(VISIT_COLUMNS))
    groups = group_participants(joined, keys, group_by)
    problems = [*joined.problems, *list_without_folder(joined, keys, inputs.selection)]
    visits = read_visits(keys, images, joined, inputs.bids_dir, inputs.out_dir)
    rows = visit_rows(visits)
    write_tables(visits, rows, joined, inputs)
    try:
        write_frequency_maps(inputs.out_dir, [visit.key for visit in visits if visit.results], groups)
    except BidsCascadeError as error:  # an unreadable mask must not stop the tables
        problems.append(error)
    page = write_group_page(
        inputs.out_dir,
        name=str(description.get("Name", inputs.bids_dir.name)),
        descriptions=joined.descriptions,
        problems=[str(problem) for problem in problems],
        selection=describe_selection(inputs.selection),
    )
    say(closing_text(visits, rows, problems, page))
    return exit_code_of_visits(visits, joined.problems)
