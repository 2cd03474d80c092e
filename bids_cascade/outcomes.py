"""How each visit ended: the closing table, and the exit code of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import OK, BidsCascadeError, MissingInputError, TemporaryError


@dataclass(frozen=True)
class VisitOutcome:
    """The outcome of one visit.

    Attributes
    ----------
    name : str
        Such as ``sub-01_ses-1``.
    exit_code : int
        0 when all went well.
    message : str
        The failure, or the warnings, in one line.
    n_lesions, n_lesions_14mm3 : int or None
        All lesions, and those large enough to count clinically.
    volume_ml : float or None
        On the grid of the T1w image, or of the FLAIR of a visit without one.
    seconds : float or None
        Sum over its steps.
    crash_reports : tuple of Path
        nipype's crash reports of failed steps.
    """

    name: str
    exit_code: int = OK
    message: str = ""
    n_lesions: int | None = None
    n_lesions_14mm3: int | None = None
    volume_ml: float | None = None
    seconds: float | None = None
    crash_reports: tuple[Path, ...] = ()

    def with_warnings(self, texts: Iterable[str], exit_code: int = OK) -> VisitOutcome:
        """Return this with further warnings, which may make it a failure."""
        message = "; ".join(filter(None, (self.message, *texts)))
        return replace(self, message=message, exit_code=self.exit_code or exit_code)


def missing_outcome(visit: Visit) -> VisitOutcome:
    """Return the row of a visit that lacks sequences, with what to do about it."""
    message = f"not processed: no {' and no '.join(visit.missing)} image"
    files = " and ".join(f"{visit.name}_{sequence}.nii.gz" for sequence in visit.missing)
    remedies = visit.left_out or (f"expected {files} in {visit.folder / 'anat'}",)
    return VisitOutcome(visit.name, MissingInputError.exit_code, "; ".join([message, *remedies]))


def exit_code_of(results: Iterable[VisitOutcome]) -> int:
    """Return 0 when all went well, the failures' exit code when they agree, else 1.

    A temporary failure only counts if there is no other one.
    """
    codes = {result.exit_code for result in results} - {OK}
    codes = codes - {TemporaryError.exit_code} or codes
    return codes.pop() if len(codes) == 1 else BidsCascadeError.exit_code if codes else OK


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one.

    >>> count(0, "visit"), count(1, "visit")
    ('0 visits', '1 visit')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_table(results: Sequence[VisitOutcome]) -> str:
    """Return the closing table as text, in the order given."""
    width = max([len("visit"), *(len(result.name) for result in results)])
    lines = [f"{'visit':<{width}}  lesions  >= 14 mm3  volume (ml)  seconds"]
    for result in results:
        if result.exit_code == OK or result.n_lesions is not None:
            clinical = "n/a" if result.n_lesions_14mm3 is None else result.n_lesions_14mm3
            numbers = f"{result.n_lesions or 0:>7}  {clinical:>10}  "
            numbers += f"{result.volume_ml or 0:>11.2f}  {result.seconds or 0:>7.1f}"
            word = "WARNING" if result.exit_code == OK else "FAILED"
            numbers += f"  {word}: {result.message}" if result.message else ""
        else:
            numbers = result.message
        lines.append(f"{result.name:<{width}}  {numbers}")
    failed = sum(result.exit_code != OK for result in results)
    lines.append(
        f"{len(results) - failed} of {count(len(results), 'visit')} done" + (f", {failed} not" if failed else "")
    )
    return "\n".join(lines)
