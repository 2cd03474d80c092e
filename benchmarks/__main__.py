"""``python -m benchmarks [--json FILE] [--write]``: run all, print a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import machine, networks, visit

README = Path(__file__).parent / "README.md"
MARK = "<!-- last run -->"


def main() -> None:
    """Run the benchmarks and print what they found as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON as well")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine.describe()}
    found |= networks.inference()
    found |= networks.padded()
    found |= networks.training()
    found["scaling"] = networks.scaling()
    found |= visit.visit()
    table = format_table(found)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.write:
        before, _, _ = README.read_text().partition(MARK)
        README.write_text(f"{before}{MARK}\n\n{table}\n")


def format_table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [f"Machine: {found['machine']}", "", "| what | figure |", "|---|---|"]
    for name, value in found.items():
        if name in ("machine", "scaling", "seconds_by_step"):
            continue
        lines.append(
            f"| {name.replace('_', ' ')} | {value:.3g} |" if isinstance(value, float) else f"| {name} | {value} |"
        )
    steps = ", ".join(f"{step} {seconds:g}" for step, seconds in found["seconds_by_step"].items())
    lines += [
        "",
        f"Seconds by step of a visit: {steps}",
        "",
        "| threads | volume | seconds | relative |",
        "|---|---|---|---|",
    ]
    for row in found["scaling"]:
        lines.append(f"| {row['threads']} | {row['volume']}x | {row['seconds']:.2f} | {row['relative']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
