from __future__ import annotations

from pathlib import Path

from bids_cascade.evaluation.folds import Fold, read_fold, write_fold

FOLD = Fold(2, ("01", "02"), ("sub-01_ses-1", "sub-02"), 0.4, 1.6, "ab" * 32)


def test_a_fold_is_read_back_only_if_it_was_made_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "fold-2.json"
    assert read_fold(path, "a") is None, "not done yet"
    write_fold(FOLD, "a", path)
    assert read_fold(path, "a") == FOLD
    assert read_fold(path, "b") is None, "other data"
    path.write_text('{"fingerprint": "a", "number": 2}')
    assert read_fold(path, "a") is None, "of another version"
