"""Values of options: each function parses one kind, or raises with what is expected."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path


def path_of(text: str) -> Path:
    """Return an absolute path: the app leaves the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    try:
        return Path(text).absolute()
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(f"`{text}`: the current folder is gone; give an absolute path") from error


def model_file(text: str) -> Path:
    """Return the path of a model file; the packaged one is called default."""
    if text != "default":
        return path_of(text)
    from bids_cascade.models.store import PACKAGED_MODEL

    return PACKAGED_MODEL


def derivative(text: str) -> str:
    """Return the name of a derivative dataset, or its path, absolute."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected the name or path of a derivative dataset, found nothing")
    is_name = Path(text).parts == (text,) and text != ".."
    return text if is_name else str(path_of(text))


def label(text: str) -> str:
    """Return what may follow ``sub-`` or ``ses-``."""
    if not re.fullmatch(r"[0-9a-zA-Z+]+", text.removeprefix("sub-").removeprefix("ses-")):
        raise argparse.ArgumentTypeError(f"expected a label of letters, digits and +, found `{text}`")
    return text


def file_name(text: str) -> str:
    """Return what can be the name of a file."""
    if not re.fullmatch(r"[0-9a-zA-Z][\w.+-]{0,99}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"expected a name of at most 100 letters, digits and _.+-, the first a letter or digit, found `{text}`"
        )
    return text


def template(text: str) -> str:
    """Return the name of a template."""
    if not re.fullmatch(r"[0-9a-zA-Z]+", text):
        raise argparse.ArgumentTypeError(f"expected a template such as MNI152NLin2009cAsym, found `{text}`")
    return text


def probability(text: str) -> float:
    """Return a probability above 0."""
    return _number(text, lambda value: 0 < value <= 1, "a probability above 0 and at most 1")


def fraction(text: str) -> float:
    """Return a fraction from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "a fraction from 0 to 1")


def not_negative(text: str) -> float:
    """Return a number of at least 0."""
    return _number(text, lambda value: value >= 0, "a number that is not negative")


def positive(text: str) -> float:
    """Return a number above 0."""
    return _number(text, lambda value: value > 0, "a number above 0")


def gb_of_mb(text: str) -> float:
    """Return GB of a number of MB, or of a number with the unit K, M, G or T, as fMRIPrep reads it."""
    scales = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in scales else (text, "M")
    expected = "a number of MB above 0, or one with the unit K, M, G or T"
    return _number(number, lambda value: value > 0, expected) * scales[unit]


def number(text: str) -> float:
    """Return a finite number."""
    return _number(text, lambda value: True, "a number")


def count(text: str) -> int:
    """Return a whole number above 0."""
    return int(_number(text, lambda value: value >= 1 and value == int(value), "a whole number above 0"))


def n_folds(text: str) -> int:
    """Return how many folds; 0 for as many as there are subjects."""
    if text == "loo":
        return 0
    return int(_number(text, lambda value: value >= 2 and value == int(value), "loo or a whole number above 1"))


def seed(text: str) -> int:
    """Return a whole number from 0."""
    return int(
        _number(text, lambda value: 0 <= value < 2**31 and value == int(value), "a whole number from 0 to 2^31-1")
    )


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (abs(value) < float("inf") and fits(value)):
        raise argparse.ArgumentTypeError(f"expected {expected}, found `{text}`")
    return value
