"""Reasons known beforehand why two visits must not be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bids_cascade.derivatives.change import Pair
from bids_cascade.derivatives.flags import Flags
from bids_cascade.derivatives.read import Processing, read_results
from bids_cascade.imaging.images import ORIENTATION_IS_A_GUESS
from bids_cascade.visit_key import VisitKey


def refusal_of(out_dir: Path, pair: Pair, processings: Mapping[VisitKey, Processing]) -> Flags:
    """Return why two visits must not be compared at all, if that is known beforehand; usually nothing.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    pair : Pair
    processings : mapping of VisitKey to Processing
        Of both visits at least.

    Raises
    ------
    MissingInputError, BadDataError
        When a visit's tables can't be read.
    """
    if processings[pair.earlier] != processings[pair.later]:
        return {"visits_made_differently": _say_difference(pair, processings)}
    guessed = [
        key.name for key in (pair.earlier, pair.later) if ORIENTATION_IS_A_GUESS in read_results(out_dir, key).flags
    ]
    if len(guessed) == 1:  # two guesses are right or wrong alike
        return {
            "visits_may_be_mirrored": f"the orientation of {guessed[0]} is a guess, so it may be a mirror image of the "
            "other visit; convert it again"
        }
    return {}


def _say_difference(pair: Pair, processings: Mapping[VisitKey, Processing]) -> str:
    """Describe how the processing of two visits differs, and what to do."""
    before, after = (vars(_shortened(processings[key])) for key in (pair.earlier, pair.later))
    different = [
        f"{name.replace('_', ' ')} {before[name]} and {after[name]}" for name in before if before[name] != after[name]
    ]
    if before["sequences"] != after["sequences"]:
        extra = " or ".join(sorted(set(before["sequences"].split("+")) ^ set(after["sequences"].split("+"))))
        remedy = (
            f"lesions seen in other sequences differ; to compare them, process copies of both visits without {extra}"
        )
    else:
        remedy = "run the participant level for both with the same model and options"
    return (
        f"{pair.earlier.label} and ses-{pair.later.session} were not made in the same way ({'; '.join(different)}): "
        f"{remedy}"
    )


def _shortened(processing: Processing) -> Processing:
    """Return a processing with the beginning of its model's hash, which is enough to distinguish two models."""
    return replace(processing, model_sha256=processing.model_sha256[:8])
