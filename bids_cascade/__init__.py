"""A BIDS App that finds multiple-sclerosis lesions with a cascade of two 3D CNNs."""

from pathlib import Path


def _read_version() -> str:
    """Return the version: that of the file ``version`` in a source tree, otherwise the installed one."""
    version_file = Path(__file__).parent.parent / "version"
    if version_file.is_file():
        return version_file.read_text().strip()
    # Imports much of the standard library, modules of which may be shadowed by the current folder; see `surroundings`.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bids_cascade")
    except PackageNotFoundError:
        return "unknown"


__version__ = _read_version()
