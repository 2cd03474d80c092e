"""Code is known by its hash."""

import pytest

from bids_cascade import sources
from bids_cascade.sources import hash_sources


def test_modules_and_folders_by_name_and_content(tmp_path, monkeypatch) -> None:
    assert hash_sources("synthesis") == hash_sources("synthesis") != hash_sources("synthesis", "sources.py")
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    (tmp_path / "a").mkdir()
    for name in ("a/one.py", "a/two.py", "b.py"):
        (tmp_path / name).write_text(f"NAME = '{name}'")
    seen = [hash_sources("a"), hash_sources("b.py"), hash_sources("a", "b.py")]
    (tmp_path / "a/note.txt").write_text("no code")
    assert hash_sources("a") == seen[0]
    (tmp_path / "a/two.py").write_text("NAME = 2")
    seen.append(hash_sources("a"))
    (tmp_path / "a/two.py").rename(tmp_path / "a/three.py")
    seen.append(hash_sources("a"))
    assert len(set(seen)) == 5


CODE = '''"""Of a module."""

LIMIT = 3  # voxels
"""Of a constant."""


def count(mask):
    """Of a function."""
    return mask.sum() > LIMIT
'''


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("# voxels", "# in voxels", True),
        ("Of a module.", "Of this module.", True),
        ("Of a constant.", "Of this constant.", True),
        ("Of a function.", "Of this function.", True),
        ("\n    return", "\n\n    return", True),
        ("mask.sum() > LIMIT", "(mask.sum() > LIMIT)", True),
        ("LIMIT = 3", "LIMIT = 4", False),
        ("mask.sum()", "mask.max()", False),
        (">", ">=", False),
    ],
)
def test_only_what_the_code_does_counts(tmp_path, monkeypatch, old: str, new: str, is_same: bool) -> None:
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    (tmp_path / "a.py").write_text(CODE)
    before = hash_sources("a.py")
    assert CODE.count(old) == 1
    (tmp_path / "a.py").write_text(CODE.replace(old, new))
    assert (hash_sources("a.py") == before) == is_same
