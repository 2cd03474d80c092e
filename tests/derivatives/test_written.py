import json
from dataclasses import replace
from pathlib import Path

from bids_cascade.derivatives.written import has_outputs, model_fields, read_stats

from .conftest import MakePlan


def test_outputs_count_as_there_only_if_whole_and_made_in_the_same_way(
    tmp_path: Path, make_plan: MakePlan, leave_results
) -> None:
    mine = make_plan(None)
    assert not has_outputs(mine)
    fields = {**model_fields(mine), "GeneratedByVersion": "1"}
    anat = leave_results(mine.out_dir, "sub-01", **fields)
    assert has_outputs(mine)
    assert not has_outputs(replace(mine, precision="half"))
    assert not has_outputs(replace(mine, rule=replace(mine.rule, peak_probability=0.9)))
    # Killed between the new results' JSON and their table, in the order of before: the old table stands beside.
    stats = anat / "sub-01_desc-lesions_stats.tsv"
    stats.write_text(stats.read_text().replace("\n3\t", "\n2\t"))
    assert not has_outputs(mine)
    leave_results(mine.out_dir, "sub-01", **fields)
    (anat / "sub-01_space-T1w_seg-lesions_dseg.tsv").unlink()
    assert not has_outputs(mine)


def test_flags_of_both_sidecars_are_read_and_the_measured_ones_win(tmp_path: Path, make_plan: MakePlan) -> None:
    mine = make_plan(None)
    assert read_stats(mine) is None
    stats = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-lesions_stats.tsv"
    stats.parent.mkdir(parents=True)
    stats.write_text("n_lesions\n3\n")
    stats.with_suffix(".json").write_text(json.dumps({"QualityFlags": {"guess": "left", "cut": "some"}}))
    assert read_stats(mine) == ({"n_lesions": "3"}, {"guess": "left", "cut": "some"})
    quality = stats.with_name("sub-01_desc-quality_stats.tsv")
    quality.write_text("quality_flags\nguess;cut;noise\n")
    quality.with_suffix(".json").write_text(json.dumps({"QualityFlags": {"guess": "left", "cut": "10 %", "noise": ""}}))
    assert read_stats(mine) == ({"n_lesions": "3"}, {"guess": "left", "cut": "10 %", "noise": ""})
