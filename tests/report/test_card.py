from pathlib import Path

from bids_cascade.cascade.packing import ModelHeader
from bids_cascade.cascade.training import Epoch
from bids_cascade.config import CascadeConfig, NetworkConfig
from bids_cascade.models.store import StoredModel
from bids_cascade.report.card import model_card
from bids_cascade.report.curves import draw_curves

NETWORK = NetworkConfig(2, patch_size=7, features=(3,), dense=())


def stored(**provenance: object) -> StoredModel:
    header = ModelHeader(CascadeConfig(threshold=0.4), ((NETWORK, NETWORK),), "tiny", "CC0-1.0", provenance)
    return StoredModel(header, 1234, Path("tiny.safetensors"), "ab" * 32)


def test_card_says_what_the_model_says() -> None:
    figures = [{"dice": 0.5, "visit": "sub-03"}, {"dice": 0.25, "visit": "sub-04"}]
    card = model_card(stored(training_subjects=["01", "02"], training={"seed": 7}, validation=figures))
    assert card.startswith("# Model card: tiny\n")
    for line in (
        f"SHA-256 `{'ab' * 32}`",
        "- Licence: CC0-1.0",
        "T1w, FLAIR",
        "1,234 weights",
        "probability of at least 0.4",
        "- training subjects: 01, 02",
        "- training: seed 7",
        "| visit | dice |",
        "| sub-04 | 0.25 |",
        "Not a medical device",
    ):
        assert line in card


def test_card_without_held_out_subjects_says_so() -> None:
    assert "No figures on subjects held out from training: the accuracy" in model_card(stored())


def test_curves_are_drawn_with_and_without_validation(tmp_path: Path) -> None:
    history = {1: [Epoch(1, 9, 0.6, 0.5, 0.7), Epoch(2, 9, 0.4, 0.5, 0.8)], 2: [Epoch(1, 9, 0.6, None, None)]}
    for name in ("a.png", "b.png"):
        draw_curves(history, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_card_quotes_a_cross_validation() -> None:
    row = {
        "difference": "0.2 [0.1, 0.3]",
        "measure": "dice",
        "cascade_mean": "0.7",
        "cascade_median": "0.71",
        "flair_threshold_mean": "0.5",
        "flair_threshold_median": "0.5",
    }
    card = model_card(stored(cross_validation={"folds": 10, "visits": 12, "subjects": 10, "figures": [row]}))
    assert "10 cascades of this recipe" in card
    assert "12 visits of 10 subjects" in card
    assert "| measure | cascade mean | cascade median | flair threshold mean | flair threshold median |" in card
    assert "| dice | 0.7 | 0.71 | 0.5 | 0.5 | 0.2 [0.1, 0.3] |" in card
    assert card.count("cross validation") == 0, "told in its own section, not among the bullets"


def test_figures_that_are_not_defined_are_said_to_be_so() -> None:
    assert "| sub-03 | n/a |" in model_card(stored(validation=[{"dice": None, "visit": "sub-03"}]))
