"""Which visits are selected, and which of them no other run works on."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_cascade.config import Inputs, needed_sequences
from bids_cascade.dataset.layout import list_participants, open_dataset
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.errors import TemporaryError
from bids_cascade.outcomes import VisitResult, missing_result

_LOGGER = logging.getLogger(__name__)


def find_selected(inputs: Inputs, sequences: Sequence[str], validation: Validation | None = None) -> list[Visit]:
    """Find the selected visits, complete or not, and say what is missing.

    Parameters
    ----------
    inputs : Inputs
    sequences : sequence of str
        Of the model.
    validation : Validation, optional
        Of the dataset, already under way; else one starts if the inputs are to be validated.
    """
    needed = needed_sequences(sequences)
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    visits = find_visits(layout, needed, inputs.selection)
    if validation is None and inputs.validate:
        validation = Validation(inputs.bids_dir)
    if validation is not None:
        validation.finish()
    for visit in visits:
        if visit.missing:
            _LOGGER.warning("%s: %s", visit.name, missing_result(visit).message)
    if not (inputs.selection.participants or inputs.selection.sessions or inputs.selection.filters):
        silent = [name for name in list_participants(inputs.bids_dir) if name not in {v.participant for v in visits}]
        for name in silent:
            _LOGGER.warning("sub-%s: no anatomical image at all; not processed", name)
    for sequence in needed:
        if all(sequence in visit.missing for visit in visits):
            _LOGGER.error(
                "%s: none of the %d selected visits has a %s image; the model takes %s; name another with --model, or "
                "train one for the sequences there are",
                *(inputs.bids_dir, len(visits), sequence, ", ".join(needed)),
            )
    return visits


@contextmanager
def claimed(
    visits: Sequence[Visit], work_dir: Path, *, wait: bool = False
) -> Iterator[tuple[list[Visit], dict[str, VisitResult]]]:
    """Give the visits that no other run works on, nor will, and by name the results of those that one works on.

    Parameters
    ----------
    visits : sequence of Visit
    work_dir : Path
        Existing work folder; two runs may share it, but not a visit in it.
    wait : bool
        Wait for a visit that another run works on, instead of refusing it.
    """
    free: list[Visit] = []
    in_use: dict[str, VisitResult] = {}
    with ExitStack() as locks:
        for visit in visits:
            try:
                locks.enter_context(locked(visit.slug, work_dir, "this visit", wait=wait))
            except TemporaryError as error:
                in_use[visit.name] = VisitResult(visit.name, error.exit_code, f"FAILED: {error}")
            else:
                free.append(visit)
        yield free, in_use


@contextmanager
def locked(name: str, work_dir: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock in the work folder; the system lets go of it when this process ends, however it ends.

    Parameters
    ----------
    name : str
        File name of the lock.
    work_dir : Path
    what : str
        What is locked, for the message.
    wait : bool
        Wait for another run to let go.

    Raises
    ------
    TemporaryError
        When another run holds it and this one shall not wait.
    """
    folder = work_dir / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TemporaryError(
                f"another run works on {what} in {work_dir}; wait for it, or choose another folder with -w"
            ) from error
        except OSError:
            _LOGGER.debug("%s: the file system knows no locks", folder, exc_info=True)
        yield
