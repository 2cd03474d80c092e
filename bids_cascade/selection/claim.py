"""Locks on visits, so that no two runs work on one visit."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import TemporaryError
from bids_cascade.outcomes import VisitOutcome

_LOGGER = logging.getLogger(__name__)


@contextmanager
def claimed(
    visits: Sequence[Visit], work_dir: Path, *, wait: bool = False
) -> Iterator[tuple[list[Visit], dict[str, VisitOutcome]]]:
    """Yield the visits that this run has locked, and by name the outcomes of those that another run works on.

    Parameters
    ----------
    visits : sequence of Visit
    work_dir : Path
        Existing work folder; two runs may share it, but not a visit in it.
    wait : bool
        Wait for a visit that another run works on, instead of refusing it.
    """
    free: list[Visit] = []
    in_use: dict[str, VisitOutcome] = {}
    with ExitStack() as locks:
        for visit in visits:
            try:
                locks.enter_context(locked(visit.slug, work_dir, "this visit", wait=wait))
            except TemporaryError as error:
                in_use[visit.name] = VisitOutcome(visit.name, error.exit_code, f"FAILED: {error}")
            else:
                free.append(visit)
        yield free, in_use


@contextmanager
def locked(name: str, work_dir: Path, subject: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock in the work folder; the system releases it when this process ends, however it ends.

    Parameters
    ----------
    name : str
        File name of the lock.
    work_dir : Path
    subject : str
        What is locked, for the message.
    wait : bool
        Wait for another run to release it.

    Raises
    ------
    TemporaryError
        When another run holds it and `wait` is false.
    """
    folder = work_dir / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TemporaryError(
                f"another run works on {subject} in {work_dir}; wait for it, or choose another folder with -w"
            ) from error
        except OSError:
            _LOGGER.debug("%s: the file system does not support locks", folder, exc_info=True)
        yield
