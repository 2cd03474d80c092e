"""Compare the packages of the image with its lock files."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

text = Path("/opt/bids_cascade/requirements/common.txt").read_text()
text += "\n".join(re.findall(r"^torch==\S+", Path("/opt/bids_cascade/requirements/torch-cuda.txt").read_text(), re.M))
wrong = []
for name, locked in re.findall(r"^([a-z0-9-]+)==([^ \\]+)", text, re.M):
    try:
        installed = version(name).partition("+")[0]  # PyTorch says its build after the +
    except PackageNotFoundError:
        installed = "missing"
    if installed != locked:
        wrong.append(f"{name}: {installed} instead of {locked}")
print("\n".join(wrong) or "as locked")
sys.exit(bool(wrong))
