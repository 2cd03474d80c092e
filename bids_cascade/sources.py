"""Which code made what is kept from one run to the next."""

import hashlib
from pathlib import Path


def hash_sources(*parts: str) -> str:
    """Return a hash of modules of this package, and of folders of them, named by their paths below it.

    Between two releases, the version doesn't tell that they have changed.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted((root / part).glob("*.py")) or [root / part]:
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
