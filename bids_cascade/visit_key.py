"""The identity of a visit, participant and session, which names and orders it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VisitKey:
    """One participant's session, or the participant in a dataset without sessions.

    Attributes
    ----------
    participant : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-``.

    Examples
    --------
    >>> VisitKey("01", "1").name, VisitKey("01", None).name
    ('sub-01_ses-1', 'sub-01')
    """

    participant: str
    session: str | None

    @property
    def name(self) -> str:
        """The beginning of its files' names, such as ``sub-01_ses-1``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def label(self) -> str:
        """What tells it from its participant's other visits: ``ses-1``, or ``sub-01`` in a dataset without sessions."""
        return f"ses-{self.session}" if self.session else self.name

    @property
    def slug(self) -> str:
        """The name in letters, digits and underscores, such as ``sub_01_ses_1``; as unique as the name."""
        return self.name.replace("-", "_").replace("+", "__")

    @property
    def key(self) -> VisitKey:
        """The key itself, for subclasses with more content."""
        return VisitKey(self.participant, self.session)

    @property
    def folder(self) -> Path:
        """Its folder below the root of a dataset, such as ``sub-01/ses-1``."""
        return Path(f"sub-{self.participant}", *([f"ses-{self.session}"] if self.session else []))

    @property
    def columns(self) -> dict[str, str | None]:
        """The first columns of every table row about it."""
        return {"participant_id": f"sub-{self.participant}", "session_id": self.session and f"ses-{self.session}"}

    @property
    def order(self) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Key that sorts visits in natural order of participant and session."""
        return natural_key(self.participant), natural_key(self.session)


def natural_key(text: str | None) -> list[tuple[int, str]]:
    """Return a sorting key under which 2 comes before 10 and nothing before something.

    >>> sorted(["b10", "b2", None], key=natural_key)
    [None, 'b2', 'b10']
    """
    if text is None:
        return []
    parts = re.findall(r"\d+|\D+", text)
    return [(int(part), part) if part.isdecimal() else (sys.maxsize, part) for part in parts]
