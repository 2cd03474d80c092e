"""Names and colours of the regions, in the forms that viewers read."""

from __future__ import annotations

from pathlib import Path

from bids_cascade.anatomy.zones import REGION_COLOURS
from bids_cascade.whole_file import write_whole_file

FOLDER = "lookup"
"""Of the derivative dataset, that holds them."""


def write_lookup_tables(out_dir: Path) -> None:
    """Write the label descriptions of ITK-SNAP, FSLeyes, and 3D Slicer and Freeview, unless they are there so.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    folder = out_dir / FOLDER
    for name, text in lookup_tables().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            folder.mkdir(exist_ok=True)
            write_whole_file(text.encode(), path)


def lookup_tables() -> dict[str, str]:
    """Return the files' contents by name."""
    rows = [(int(region), region.name.lower(), *colour) for region, colour in REGION_COLOURS.items()]
    snap = ["# IDX -R- -G- -B- -A-- VIS MSH LABEL", '0 0 0 0 0 0 0 "Clear Label"']
    snap += [f'{index} {r} {g} {b} 1 1 1 "{name}"' for index, name, r, g, b in rows]
    fsleyes = [f"{index} {r / 255:.5f} {g / 255:.5f} {b / 255:.5f} {name}" for index, name, r, g, b in rows]
    slicer = ["0 background 0 0 0 0", *(f"{index} {name} {r} {g} {b} 255" for index, name, r, g, b in rows)]
    return {
        "regions_itksnap.txt": "\n".join(snap) + "\n",
        "regions_fsleyes.lut": "\n".join(fsleyes) + "\n",
        "regions_slicer_freeview.ctbl": "\n".join(slicer) + "\n",
    }
