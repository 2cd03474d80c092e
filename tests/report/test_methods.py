import re
from typing import Any

import pytest

from bids_cascade.report.methods import describe_methods
from bids_cascade.report.references import REFERENCES

SIDECAR: dict[str, Any] = {
    "ModelName": "tiny",
    "ModelSHA256": "ab" * 32,
    "Threshold": 0.4,
    "MinLesionVolume": 12.5,
    "PeakProbability": 0.75,
    "BrainMaskMethod": "deepbet",
    "Sequences": ["T1w", "FLAIR"],
    "CandidateSequence": "FLAIR",
    "CandidateLevel": 1.125,
    "GateProbability": 0.8,
    "GateExtentProbability": 0.3,
    "VoxelSize": 1.0,
    "RandomSeed": 7,
    "GeneratedByVersion": "1.2.3",
    "SoftwareVersions": {
        "nipype": "1.11",
        "pybids": "0.22",
        "nibabel": "5.4",
        "torch": "2.13",
        "deepbet": "1.0.2",
        "antspyx": "0.6.3",
    },
}


def test_paragraph_says_what_was_run() -> None:
    found = describe_methods(SIDECAR)
    assert found is not None
    for said in (
        "bids_cascade 1.2.3",
        "deepbet 1.0.2 (Fisch et al., 2024)",
        "The FLAIR image was registered",
        "antspyx 0.6.3",
        "1 mm isotropic",
        "components below 12.5 mm³, or without a probability of at least 0.75, were removed",
        f"the model tiny (SHA-256 {'ab' * 32})",
        "takes T1w and FLAIR",
        "FLAIR intensity above 1.125",
        "probability above 0.8, with all that were connected to these by voxels above 0.3. Its",
        "thresholded at 0.4",
        "below 12.5 mm³",
        "seed was 7",
    ):
        assert said in found.paragraph


def test_models_from_nicmslesions_are_told_apart() -> None:
    found = describe_methods({**SIDECAR, "Normalisation": "whole-volume z-score", "PatchWise": True})
    assert found is not None
    assert "as nicMSlesions does (Valverde et al., 2019)" in found.paragraph
    assert "were evaluated patch by patch" in found.paragraph
    assert "white matter, found with" not in found.paragraph


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"BrainMaskMethod": "nonzero"},
        {"Sequences": ["T1w"]},
        {"NumberOfCascades": 2, "Calibration": [0.75, -0.5]},
        {"PrevalenceWeight": 0.5},
        {"FirstStageWeight": 0.25},
    ],
)
def test_what_is_cited_is_listed_and_what_is_listed_is_cited(changed: dict[str, Any]) -> None:
    found = describe_methods(SIDECAR | changed)
    assert found is not None
    cited = re.findall(r"[\w-]+(?: et al\.)?, \d{4}", found.paragraph)
    assert found.references == tuple(REFERENCES[words] for words in sorted(set(cited)))
    assert len(cited) == len(re.findall(r"\b(?:19|20)\d\d\b", found.paragraph)), "no citation looks otherwise"


def test_every_reference_is_cited_and_named_as_it_is_cited() -> None:
    every = [
        describe_methods(SIDECAR | more)
        for more in ({"PrevalenceWeight": 0.5}, {"Normalisation": "whole-volume z-score", "PatchWise": True})
    ]
    cited = {one for found in every if found is not None for one in found.references}
    assert cited == set(REFERENCES.values())
    for words, one in REFERENCES.items():
        others = "" if len(one.authors) == 1 and not one.has_others else " et al."
        assert words == f"{one.authors[0].rpartition(' ')[0]}{others}, {one.year}"
    assert len({one.key for one in cited}) == len(REFERENCES)


def test_references_as_text_and_as_bibtex() -> None:
    article, chapter = REFERENCES["Yarkoni et al., 2019"], REFERENCES["Aït-Ali et al., 2005"]
    assert article.text == (
        "Yarkoni T, Markiewicz CJ, de la Vega A, et al. PyBIDS: Python tools for BIDS datasets. Journal of Open Source "
        "Software 4(40):1294, 2019. doi:10.21105/joss.01294"
    )
    assert article.bibtex == (
        "@article{yarkoni2019,\n"
        "  author = {Yarkoni, T. and Markiewicz, C. J. and de la Vega, A. and others},\n"
        "  title = {{PyBIDS: Python tools for BIDS datasets}},\n"
        "  journal = {Journal of Open Source Software},\n"
        "  year = {2019},\n"
        "  volume = {4},\n"
        "  number = {40},\n"
        "  pages = {1294},\n"
        "  doi = {10.21105/joss.01294},\n"
        "}"
    )
    assert REFERENCES["Saerens et al., 2002"].text.startswith("Saerens M, Latinne P, Decaestecker C. Adjusting the")
    assert "Decaestecker, C.},\n" in REFERENCES["Saerens et al., 2002"].bibtex
    assert chapter.bibtex.startswith("@inproceedings{aitali2005,\n  author = {Aït-Ali, L. S. and ")
    assert "\n  booktitle = {Medical Image Computing" in chapter.bibtex
    assert "\n  pages = {409--416},\n}" in chapter.bibtex


def test_what_is_done_to_the_probability_is_said() -> None:
    once = {"NumberOfCascades": 1, "Calibration": [1.0, 0.0]}
    assert _paragraph(once) == _paragraph({}), "results of before say nothing of it"
    several = _paragraph({"NumberOfCascades": 2, "Calibration": [0.75, -0.5]})
    assert (
        "The probabilities of 2 such cascades were averaged. The probability p was calibrated to "
        "sigmoid(0.75 logit(p) - 0.5). The probability map was interpolated"
    ) in several
    assert "above 0.3. Its probability map was interpolated" in _paragraph(once)
    mirrored = "probabilities of the scan and of its left-right mirror image were averaged. The probability map"
    assert mirrored in _paragraph({"Mirrored": True})
    adapted = _paragraph({"Calibration": [0.75, -0.5], "PrevalenceWeight": 0.5})
    assert "sigmoid(0.75 logit(p) - 0.5 + 0.5 logit(prevalence)). There, the prevalence of lesion among" in adapted
    assert "(Saerens et al., 2002), and was raised to what their number above 0.9 suggests" in adapted
    assert REFERENCES["Forman, 2008"].text.startswith("Forman G. Quantifying counts and costs via classification.")
    both = _paragraph({"FirstStageWeight": 0.25})
    assert "sigmoid(1 logit(p) + 0 + 0.25 logit(p1)), where p1 is the first network's probability." in both


def test_stripped_scans_and_single_sequences_are_told_apart() -> None:
    found = describe_methods(SIDECAR | {"BrainMaskMethod": "nonzero", "Sequences": ["T1w"]})
    assert found is not None
    assert "skull-stripped already" in found.paragraph
    assert "registered" not in found.paragraph
    assert not any("deepbet" in one.text or "PET-CT" in one.text for one in found.references)
    assert "FLAIR and T2w images were registered" in _paragraph({"Sequences": ["T1w", "FLAIR", "T2w"]})


def _paragraph(changed: dict[str, Any]) -> str:
    found = describe_methods(SIDECAR | changed)
    assert found is not None
    return found.paragraph


@pytest.mark.parametrize("changed", [{"Threshold": None}, {"SoftwareVersions": {}}, {"VoxelSize": "?"}])
def test_nothing_is_made_up(changed: dict[str, Any]) -> None:
    assert describe_methods(SIDECAR | changed) is None
    assert describe_methods({}) is None


def test_a_scan_without_a_t1w_is_said_to_lack_it() -> None:
    found = describe_methods({**SIDECAR, "SequencesUsed": ["FLAIR"]})
    assert found is not None
    assert "The brain was extracted from the FLAIR image with deepbet" in found.paragraph
    assert "takes T1w and FLAIR and can do without T1w, which this scan lacks: the first" in found.paragraph
    assert "registered" not in found.paragraph
    assert "smooth tissue deep in the brain" in found.paragraph
