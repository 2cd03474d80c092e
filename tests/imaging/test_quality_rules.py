import pytest

from bids_cascade.imaging.quality_rules import describe_columns, find_flags

GOOD = {
    "registration_similarity_flair": 0.15,
    "brain_coverage_flair": 1.0,
    "brain_volume_ml": 1300.0,
    "brain_cut_area_cm2": 3.0,
    "neck_volume_ml": 2.0,
    "depth_contrast_t1w": 1.7,
    "t1w_correlation_flair": 0.6,
    "tissue_order_flair": 1.0,
    "depth_contrast_flair": 1.5,
    "lesion_contrast_sd": 4.0,
    "noise_t1w": 0.02,
    "ghosting_t1w": None,
    "outlier_voxels_t1w": 0.0,
    "noise_flair": 0.03,
    "ghosting_flair": -0.03,
    "outlier_voxels_flair": 0.0,
}


def test_nothing_is_flagged_of_a_good_visit() -> None:
    assert find_flags(GOOD) == {}
    assert set(describe_columns(GOOD)) == set(GOOD)
    assert describe_columns(GOOD)["brain_volume_ml"] == {
        "Description": "Volume of the brain mask; expected 900 to 2000, else flagged brain_volume_out_of_range",
        "Units": "mL",
    }
    assert describe_columns(GOOD)["noise_flair"]["Description"].endswith("at most 0.07, else flagged motion_like_noise")


@pytest.mark.parametrize(
    ("column", "value", "flag", "said"),
    [
        ("registration_similarity_flair", 0.07, "registration_looks_failed", "similarity 0.07, expected at least 0.1"),
        ("brain_coverage_flair", 0.74, "truncated_field_of_view", "the FLAIR image shows only 74% of the brain"),
        ("brain_cut_area_cm2", 84.3, "truncated_field_of_view", "cuts the brain over 84 cm²"),
        ("neck_volume_ml", 19.6, "brain_mask_reaches_neck", "the lowest 20 ml of the brain mask are darker than brain"),
        ("brain_volume_ml", 2100.0, "brain_volume_out_of_range", "2100 ml (expected 900 to 2000 ml)"),
        ("lesion_contrast_sd", 1.4, "low_lesion_contrast", "only 1.4 standard deviations brighter"),
        ("noise_t1w", 0.08, "motion_like_noise", "the noise of the T1w image is 8.0% of its signal"),
        ("ghosting_flair", 0.05, "motion_like_noise", "by 5.0% of the brain's in the FLAIR image"),
        ("t1w_correlation_flair", 0.1, "implausible_contrast", "is 0.10 (expected 0.25 to 0.9)"),
        ("t1w_correlation_flair", 0.93, "implausible_contrast", "is 0.93 (expected 0.25 to 0.9)"),
        ("t1w_correlation_t2w", 0.2, "implausible_contrast", "is 0.20 (expected at most 0)"),
        ("tissue_order_flair", 0.1, "implausible_contrast", "rises by only 0.1 standard deviations more"),
        ("depth_contrast_t1w", 0.8, "implausible_contrast", "only 0.8 standard deviations brighter deep"),
        ("depth_contrast_flair", 0.4, "implausible_contrast", "only 0.4 standard deviations brighter deep"),
        ("outlier_voxels_flair", 6.0, "absurd_intensities", "6 voxels of the FLAIR image are absurdly bright or dark"),
        ("ghosting_t1w", -0.07, "motion_like_noise", "by -7.0% of the brain's in the T1w image"),
    ],
)
def test_each_flag_has_its_reason(column: str, value: float, flag: str, said: str) -> None:
    found = find_flags(GOOD | {column: value})
    assert list(found) == [flag]
    assert said in found[flag]


def test_reasons_of_one_flag_are_joined() -> None:
    found = find_flags(GOOD | {"noise_t1w": 0.08, "ghosting_t1w": 0.1})
    assert found["motion_like_noise"].count("; ") == 1
