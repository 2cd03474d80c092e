import pytest

from bids_cascade.config import CascadeConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sequences": ()}, "expected some of"),
        ({"sequences": ("T1w", "T1w", "FLAIR")}, "each once"),
        ({"sequences": ("T1w", "bold", "FLAIR")}, "expected some of"),
        ({"sequences": ("T1w",)}, "candidate sequence FLAIR is none of"),
        ({"optional_sequences": ("FLAIR",)}, "without the candidate sequence FLAIR"),
        ({"optional_sequences": ("T2w",)}, "expected some of"),
        ({"threshold": 0}, "the threshold is 0"),
        ({"threshold": 7}, "the threshold is 7"),
        ({"gate_probability": 1}, "gate"),
        ({"hard_negative_probability": -0.1}, "hard-negative"),
        ({"voxel_size_mm": 0}, "voxel size"),
        ({"min_lesion_volume_mm3": -1}, "smallest lesion volume"),
        ({"peak_probability": 1.1}, "the peak probability is 1.1; expected 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CascadeConfig(**fields)


def test_choices_replace_what_is_chosen_only() -> None:
    config = CascadeConfig(threshold=0.4, min_lesion_volume_mm3=7)
    assert config.with_choices(None, None) == config
    assert config.with_choices(0.6, None) == CascadeConfig(threshold=0.6, min_lesion_volume_mm3=7)
    assert config.with_choices(None, 0) == CascadeConfig(threshold=0.4, min_lesion_volume_mm3=0)
