"""The output folders of visits: links are refused, and leftovers removed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.names import visit_folders
from bids_cascade.errors import OutputError
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.whole_file import clear_leftovers


def refuse_links(visits: Iterable[Visit], out_dir: Path) -> tuple[list[Visit], dict[str, VisitOutcome]]:
    """Return the visits whose output folders are no links, which lead elsewhere, and the outcomes of the others.

    Parameters
    ----------
    visits : iterable of Visit
    out_dir : Path
        Root of the derivative dataset.

    Returns
    -------
    kept : list of Visit
    refused : dict of str to VisitOutcome
        By name of the visit.
    """
    kept, refused = [], {}
    for visit in visits:
        link = next((folder for folder in visit_folders(out_dir, visit) if folder.is_symlink()), None)
        if link is None:
            kept.append(visit)
        else:
            message = f"FAILED: {link} is a link; results go into the output folder only: remove it"
            refused[visit.name] = VisitOutcome(visit.name, OutputError.exit_code, message)
    return kept, refused


def clear_visit_leftovers(visits: Iterable[Visit], out_dir: Path) -> None:
    """Remove the half-written files of killed workers of this run and of earlier ones."""
    clear_leftovers(out_dir)
    for visit in visits:
        for folder in visit_folders(out_dir, visit):
            clear_leftovers(folder)
