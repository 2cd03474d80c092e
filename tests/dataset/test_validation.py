"""Validating datasets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_cascade.dataset import validation as module
from bids_cascade.dataset.validation import Validation
from bids_cascade.errors import InvalidDatasetError

MakeRaw = Callable[..., Path]


def test_missing_validator_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    Validation(tmp_path).finish()
    assert "bids-validator-deno is not installed" in caplog.text


@pytest.mark.parametrize(("returncode", "stdout"), [(1, ""), (16, "not JSON"), (16, "{}")])
def test_broken_validator_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, returncode: int, stdout: str
) -> None:
    fake = tmp_path / "validator"
    fake.write_text(f"#!/bin/sh\necho '{stdout}'\nexit {returncode}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(module, "find_validator", lambda: str(fake))
    with caplog.at_level(logging.WARNING):
        Validation(tmp_path).finish()
    assert "is not validated" in caplog.text


def require_validator() -> None:
    if module.find_validator() is None:
        pytest.skip("bids-validator-deno is not installed")


def test_real_validator_names_a_wrong_file(make_raw: MakeRaw) -> None:
    require_validator()
    root = make_raw(files={"sub-01/anat/sub-01_wrong.nii.gz": (1.0, 1.0, 1.0), "README": "x" * 200})
    with pytest.raises(InvalidDatasetError, match=re.escape("NOT_INCLUDED in /sub-01/anat/sub-01_wrong.nii.gz")):
        Validation(root).finish()


def test_real_validator_leaves_bad_images_to_their_visit(make_raw: MakeRaw) -> None:
    require_validator()
    files = {"sub-01/anat/sub-01_T1w.nii.gz": (1.0, 1.0, 1.0), "README": "x" * 200}
    root = make_raw("sub-02/anat/sub-02_T1w.nii.gz", files=files)
    (root / "sub-03/anat").mkdir(parents=True)
    (root / "sub-03/anat/sub-03_T1w.nii.gz").write_bytes(b"truncated")
    assert Validation(root).finish() is None


def test_a_validator_nobody_waits_for_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "validator"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setattr(module, "find_validator", lambda: str(fake))
    one = Validation(tmp_path)
    one.stop()
    assert one._process.returncode < 0
    one.stop()


def test_a_validator_that_can_not_be_started_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "find_validator", lambda: str(tmp_path))
    one = Validation(tmp_path)
    one.finish()
    one.stop()
    assert "could not be run" in caplog.text
