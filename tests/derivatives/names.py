"""Visits and images whose names are looked at."""

from __future__ import annotations

from bids_cascade.visit_key import VisitKey

VISITS = [VisitKey("01", None), VisitKey("01", "1")]


IMAGES: list[tuple[str, dict[str, str]]] = [
    ("T1w", {"desc": "preproc"}),
    ("FLAIR", {"space": "T1w", "desc": "preproc"}),
    ("mask", {"desc": "brain"}),
    ("mask", {"space": "T1w", "label": "L"}),
    ("probseg", {"space": "T1w", "label": "L"}),
    ("mask", {"space": "FLAIR", "label": "L"}),
    ("probseg", {"space": "FLAIR", "label": "L"}),
    ("dseg", {"space": "T1w", "seg": "lesions"}),
]


XFM = {"from_": "FLAIR", "to": "T1w", "mode": "image"}
