"""Splits of subjects into training and validation parts, and into folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split_subjects(
    subjects: Sequence[str], validation_fraction: float, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split subjects, never visits or voxels, into those to train on and those to validate on.

    Parameters
    ----------
    subjects : sequence of str
        Names; those that come twice count once.
    validation_fraction : float
        Fraction to validate on, in [0, 1); rounded, at least one of several subjects, none of a single one.
    rng : numpy.random.Generator

    Returns
    -------
    training, validation : tuple of str
        Each in the order given.

    Raises
    ------
    ValueError
        When there is no subject, or the fraction is out of range.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"the validation fraction is {validation_fraction}; expected 0 <= fraction < 1")
    unique = list(dict.fromkeys(subjects))
    if not unique:
        raise ValueError("there is no subject to train on")
    wanted = max(1, round(validation_fraction * len(unique))) if validation_fraction > 0 else 0
    n_validation = min(wanted, len(unique) - 1)
    held_out = set(rng.permutation(len(unique))[:n_validation].tolist())
    training = tuple(name for index, name in enumerate(unique) if index not in held_out)
    return training, tuple(name for index, name in enumerate(unique) if index in held_out)


def split_folds(subjects: Sequence[str], n_folds: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Split subjects, never visits or voxels, into folds to leave out in turn; their sizes differ by at most one.

    Parameters
    ----------
    subjects : sequence of str
        Names; those that come twice count once.
    n_folds : int
    rng : numpy.random.Generator

    Returns
    -------
    list of tuple of str
        Each subject in one fold, in the order given.

    Raises
    ------
    ValueError
        When there are fewer than two folds or fewer subjects than folds.
    """
    unique = list(dict.fromkeys(subjects))
    if not 2 <= n_folds <= len(unique):
        raise ValueError(f"{n_folds} folds of {len(unique)} subjects; expected 2 folds to one for each subject")
    order = rng.permutation(len(unique))
    return [tuple(unique[index] for index in sorted(order[start::n_folds])) for start in range(n_folds)]
