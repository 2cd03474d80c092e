from dataclasses import replace

from .conftest import MakePlan


def test_lesions_are_shown_on_the_flair_if_there_is_one(make_plan: MakePlan) -> None:
    assert make_plan(None).shown == "T1w"


def test_flags_of_the_images_come_first(make_plan: MakePlan) -> None:
    mine = replace(make_plan(None), flags={"guess": "T1w"})
    assert mine.joined_flags([{"cut": "FLAIR"}, {"cut": "T2w"}]) == {"guess": "T1w", "cut": "FLAIR; T2w"}
