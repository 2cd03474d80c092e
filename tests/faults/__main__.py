"""Run the campaign: ``python -m tests.faults [--write] [part ...]``."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.disks import run_disks
from tests.faults.images import run_images
from tests.faults.inputs import run_inputs
from tests.faults.kills import run_kills
from tests.faults.models import run_models
from tests.faults.orientations import run_orientations
from tests.faults.scene import Row, as_table
from tests.faults.visits import run_visits
from tests.faults.writers import run_writers

PARTS = {
    "models": run_models,
    "images": run_images,
    "inputs": run_inputs,
    "orientations": run_orientations,
    "kills": run_kills,
    "writers": run_writers,
    "disks": run_disks,
    "visits": run_visits,
}
README = Path(__file__).with_name("README.md")


def main() -> int:
    """Run the parts asked for; return 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--write", action="store_true", help="keep each part's table in README.md")
    options = parser.parse_args()
    if len(parts := options.parts or list(PARTS)) > 1:
        # A process's peak memory includes that of the one that started it, so a part must not follow another in one.
        words = ["--write"] if options.write else []
        return max(subprocess.call([sys.executable, "-m", "tests.faults", part, *words]) for part in parts)
    (part,) = parts
    # What is started in the background, or by nohup, ignores these, and the app would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        for row in PARTS[part](Path(folder)):
            rows.append(row)
            print(f"{'kept' if row.kept else 'BROKEN'}: {row.part}: {row.tried}: {row.happened}", flush=True)
    if options.write:
        write_table(part, rows, time.monotonic() - began)
    return int(not all(row.kept for row in rows))


def write_table(part: str, rows: list[Row], seconds: float) -> None:
    """Put a part's rows into the README, in place of its last ones."""
    kept = sum(row.kept for row in rows)
    code = f"{datetime.now(UTC):%Y-%m-%d}, code of {_revision()}, {seconds:.0f} s"
    said = f"{code}: {kept} of {len(rows)} as promised.\n\n{as_table(rows)}"
    text = README.read_text()
    pattern = rf"(<!-- {part} -->\n).*?(\n<!-- end -->)"
    README.write_text(re.sub(pattern, lambda match: match[1] + said + match[2], text, flags=re.DOTALL))


def _revision() -> str:
    """Return the commit that is tested, and whether files differ from it."""
    describe = ["git", "-C", str(README.parent), "describe", "--always", "--dirty"]
    return subprocess.run(describe, capture_output=True, text=True).stdout.strip() or "no known commit"


if __name__ == "__main__":
    sys.exit(main())
