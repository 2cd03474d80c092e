"""The tables of a cross-validation, without training."""

import csv
import json
import re
from pathlib import Path

import numpy as np

from bids_cascade.evaluation.folds import CrossValidation, Fold, summarise_methods, write_method_tables
from bids_cascade.evaluation.matching import compare_masks
from bids_cascade.evaluation.records import EvaluatedVisit, Evaluation
from bids_cascade.report.cross_validation import write_cross_validation_page


def evaluation(shift: int) -> Evaluation:
    """Return two visits whose predicted mask lies so many voxels beside the reference."""
    reference = np.zeros((12, 12, 12), bool)
    reference[4:8, 4:8, 4:8] = True
    agreement = compare_masks(reference, np.roll(reference, shift, axis=0), np.eye(4))
    visits = [EvaluatedVisit(one, None, Path("a.nii.gz"), Path("b.nii.gz"), None, agreement) for one in ("01", "02")]
    return Evaluation("Some", "one with another", visits)


def test_columns_of_visits_are_in_snake_case_and_described(tmp_path: Path) -> None:
    folds = [Fold(n, (f"0{n}",), (f"sub-0{n}",), 0.5, 1.5 + n, "0" * 64) for n in (1, 2)]
    whole = CrossValidation("tiny", folds, evaluation(1), evaluation(2))
    summaries = summarise_methods(whole)
    page = write_cross_validation_page(whole, summaries, tmp_path, write_method_tables(whole, summaries, tmp_path))
    with (tmp_path / "group_cross-validation_visits.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    described = json.loads((tmp_path / "group_cross-validation_visits.json").read_text())
    assert list(described) == list(rows[0])
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in described)
    assert [float(row["flair_threshold"]) for row in rows] == [2.5, 3.5]
    # Of four layers, one and two lie beside.
    assert [float(row["dice_cascade"]) for row in rows] == [0.75, 0.75]
    assert [float(row["dice_flair_threshold"]) for row in rows] == [0.5, 0.5]
    assert "hd95_mm_flair_threshold" in page.read_text()
