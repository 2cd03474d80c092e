"""``.bidsignore`` is for validators only; a warning says that the images it names are used."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from bids_cascade.dataset.validation import enumerated
from bids_cascade.errors import BidsCascadeError
from bids_cascade.regular_file import MAX_JSON_BYTES, read_text

logger = logging.getLogger(__name__)


def warn_of_bidsignore(root: Path, images: Iterable[Path]) -> None:
    """Warn which of a dataset's images are used although ``.bidsignore`` names them."""
    path = root / ".bidsignore"
    try:
        lines = [line.strip().strip("/") for line in read_text(path, MAX_JSON_BYTES).splitlines()]
    except BidsCascadeError:
        return
    patterns = [line for line in lines if line and not line.startswith(("#", "!"))]
    names = [image.relative_to(root) for image in images]
    ignored = [name.as_posix() for name in names if any(_matches(name, pattern) for pattern in patterns)]
    if ignored:
        logger.warning(
            "%s only silences the validator and excludes no images: %s are still used; exclude them with "
            "--bids-filter-file or --participant-label",
            path,
            enumerated(ignored),
        )


def _matches(name: PurePath, pattern: str) -> bool:
    """Return whether a file, or a folder it is in, matches a pattern, by roughly git's rules."""
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in name.parts)
    return any(fnmatchcase(folder.as_posix(), pattern) for folder in (name, *name.parents))
