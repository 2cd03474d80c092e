"""The methods paragraph of a visit, from the record of its processing, and its references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_cascade.cascade.calibration import UNCHANGED
from bids_cascade.config import WHITE_MATTER, WHOLE_VOLUME
from bids_cascade.report.references import REFERENCES, Reference


@dataclass(frozen=True)
class Methods:
    """A paragraph, and the references it cites in alphabetical order."""

    paragraph: str
    references: tuple[Reference, ...]


def describe_methods(sidecar: Mapping[str, Any]) -> Methods | None:
    """Return the methods paragraph of a visit; None if its results don't record them.

    Parameters
    ----------
    sidecar : mapping
        Of the visit's table of volumes.
    """
    try:
        paragraph = " ".join((_tools(sidecar), _preparation(sidecar), _cascade(sidecar)))
    except (KeyError, TypeError, ValueError):
        return None
    cited = sorted(word for word in REFERENCES if word in paragraph)
    return Methods(paragraph, tuple(REFERENCES[word] for word in cited))


def _tools(sidecar: Mapping[str, Any]) -> str:
    versions = sidecar["SoftwareVersions"]
    return (
        f"White-matter lesions were segmented with bids_cascade {sidecar['GeneratedByVersion']}, a BIDS App "
        f"(Gorgolewski et al., 2017) built on nipype {versions['nipype']} (Gorgolewski et al., 2011), pybids "
        f"{versions['pybids']} (Yarkoni et al., 2019), nibabel {versions['nibabel']} and PyTorch {versions['torch']}."
    )


def _preparation(sidecar: Mapping[str, Any]) -> str:
    versions, (first, *others) = sidecar["SoftwareVersions"], _used(sidecar)
    if sidecar["BrainMaskMethod"] == "deepbet":
        text = (
            f"The brain was extracted from the {first} image with deepbet {versions['deepbet']} (Fisch et al., 2024). "
        )
    else:
        text = f"The non-zero voxels of the {first} image, which was skull-stripped already, were taken as the brain. "
    if others:
        text += (
            f"The {_join(others)} image{'s were' if len(others) > 1 else ' was'} registered to the {first} image by "
            "the rigid transform that maximises Mattes mutual information (Mattes et al., 2003), with ANTs (antspyx "
            f"{versions['antspyx']}; Tustison et al., 2021). "
        )
    size_mm = float(sidecar["VoxelSize"])
    return text + (
        "Each image was corrected for its bias field within the brain with N4 (Tustison et al., 2010), brought to "
        f"{size_mm:g} mm isotropic resolution in one interpolation, and {_scaled(sidecar)}."
    )


def _scaled(sidecar: Mapping[str, Any]) -> str:
    """Describe the normalisation of intensities; earlier results do not record it."""
    if sidecar.get("Normalisation", WHITE_MATTER) == WHOLE_VOLUME:
        return (
            "normalised by its mean over the brain and its standard deviation over the whole field of view, 0 outside "
            "the brain, as nicMSlesions does (Valverde et al., 2019)"
        )
    # See bids_cascade.cascade.normalisation.find_scale.
    excluded = " (voxels that are bright in FLAIR excluded)" if "FLAIR" in _used(sidecar) else ""
    unit = f"the median absolute difference of the brain from it{excluded} was 0.25"
    if _used(sidecar)[0] != "T1w":
        return (
            "scaled so that normal-appearing white matter, identified as smooth tissue deep in the brain that is "
            f"brighter than fluid, had the value 1 and {unit}"
        )
    by_flair = " and, in FLAIR, also as smooth tissue deep in the brain" if "FLAIR" in _used(sidecar) else ""
    return (
        "scaled so that normal-appearing white matter, identified with a trimmed Gaussian mixture model of the tissues "
        f"(Aït-Ali et al., 2005){by_flair}, had the value 1 and {unit}"
    )


def _used(sidecar: Mapping[str, Any]) -> list[str]:
    """Return the sequences that were used, first the one in which the brain was found."""
    used = sidecar.get("SequencesUsed", ["T1w", *(name for name in sidecar["Sequences"] if name != "T1w")])
    return [str(name) for name in used]


def _cascade(sidecar: Mapping[str, Any]) -> str:
    patch_wise = sidecar.get("PatchWise", False)
    return (
        "Lesions were then found by a cascade of two patch-wise three-dimensional convolutional neural networks "
        f"(Valverde et al., 2017), the model {sidecar['ModelName']} (SHA-256 {sidecar['ModelSHA256']}), which takes "
        f"{_join(sidecar['Sequences'])}{_without(sidecar)}: the first network evaluated every voxel with a "
        f"{sidecar['CandidateSequence']} intensity above {float(sidecar['CandidateLevel']):g}, the second those to "
        f"which the first gave a probability above {float(sidecar['GateProbability']):g}{_gate_extent(sidecar)}. "
        f"{_averaging(sidecar)} probability map was interpolated linearly to the grid of the image and thresholded at "
        f"{float(sidecar['Threshold']):g}; 26-connected components below "
        f"{float(sidecar['MinLesionVolume']):g} mm³, or without a probability of at least "
        f"{float(sidecar['PeakProbability']):g}, were removed"
        + (", and cavities that a component encloses were filled. " if "LargestFilledCavity" in sidecar else ". ")
        + f"The random seed was {int(sidecar['RandomSeed'])}."
        + (" The networks, trained with nicMSlesions, were evaluated patch by patch." if patch_wise else "")
        + (" The networks computed in half precision." if sidecar.get("Precision") == "half" else "")
    )


def _without(sidecar: Mapping[str, Any]) -> str:
    """Describe which sequences of the model were missing."""
    absent = [name for name in sidecar["Sequences"] if name not in _used(sidecar)]
    return f" and can do without {_join(absent)}, which this scan lacks" if absent else ""


def _gate_extent(sidecar: Mapping[str, Any]) -> str:
    """Describe where the second network is evaluated; earlier results do not record it."""
    if "GateExtentProbability" not in sidecar:
        return ""
    return f", with all that were connected to these by voxels above {float(sidecar['GateExtentProbability']):g}"


def _averaging(sidecar: Mapping[str, Any]) -> str:
    """Describe which probability map is used, and how it is calibrated."""
    n, (slope, intercept) = sidecar.get("NumberOfCascades", 1), sidecar.get("Calibration", UNCHANGED)
    sentences = [f"The probabilities of {n} such cascades were averaged."] if n > 1 else []
    if sidecar.get("Mirrored", False):
        sentences.append(
            "The second network's probabilities of the scan and of its left-right mirror image were averaged."
        )
    weight, of_first = sidecar.get("PrevalenceWeight", 0), sidecar.get("FirstStageWeight", 0)
    if (slope, intercept) != UNCHANGED or weight or of_first:
        formula = calibration_formula(slope, intercept, weight, of_first)
        of_network = ", where p1 is the first network's probability" if of_first else ""
        sentences.append(f"The probability p was calibrated to {formula}{of_network}.")
    if weight:
        sentences.append(
            "There, the prevalence of lesion among the voxels that the second network evaluated was estimated from "
            "their probabilities by expectation maximisation (Saerens et al., 2002), and was raised to what their "
            "number above 0.9 suggests where lesions are few (Forman, 2008)."
        )
    return " ".join([*sentences, "The"]) if sentences else "Its"


def calibration_formula(slope: float, intercept: float, prevalence_weight: float, first_stage_weight: float) -> str:
    """Return the formula for the calibrated probability."""
    terms = [f"{slope:g} logit(p)", f"{'-' if intercept < 0 else '+'} {abs(intercept):g}"]
    if first_stage_weight:
        terms.append(f"+ {first_stage_weight:g} logit(p1)")
    if prevalence_weight:
        terms.append(f"+ {prevalence_weight:g} logit(prevalence)")
    return f"sigmoid({' '.join(terms)})"


def _join(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
