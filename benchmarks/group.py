"""The group level on results of as many visits as one likes: ``python -m benchmarks.group 10000 FOLDER``.

The results are made up, but look like those of a cohort: volumes log-normal, lesion sizes too, some visits missing,
half-written, of another model. The folder is kept, to look at the page.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from bids_cascade import __version__
from bids_cascade.cli import main as run_app

MODEL = {
    "ModelName": "made-up",
    "ModelSHA256": "0f" * 32,
    "Threshold": 0.5,
    "MinLesionVolume": 10.0,
    "MinLesionVolumeUnits": "mm^3",
}


def write_cohort(folder: Path, n_visits: int, seed: int = 0) -> tuple[Path, Path]:
    """Write a raw dataset without content and the results of its visits, two a participant; return both roots."""
    rng = np.random.default_rng(seed)
    raw, out = folder / "dataset", folder / "out"
    raw.mkdir(parents=True)
    description = {"Name": "A made-up cohort", "BIDSVersion": "1.10.0"}
    (raw / "dataset_description.json").write_text(json.dumps(description))
    people = ["participant_id\tage\tedss\tsex\tsite"]
    for index in range((n_visits + 1) // 2):
        participant = f"{index + 1:05d}"
        age, severity = rng.normal(41, 11), rng.normal(1.2, 1.1)
        edss = "n/a" if rng.random() < 0.1 else f"{np.clip(np.round(severity * 2 + 2) / 2, 0, 9):.1f}"
        people.append(f"sub-{participant}\t{age:.0f}\t{edss}\t{rng.choice(['F', 'M'])}\tsite{rng.integers(3)}")
        sessions = ["session_id\tacq_time\tweight_kg"]
        start = np.datetime64("2015-01-01") + int(rng.integers(2000))
        n_sessions = min(2, n_visits - 2 * index)
        brain_ml = rng.normal(1420, 120)
        for session in range(1, n_sessions + 1):
            day = start + (session - 1) * int(rng.integers(330, 420))
            sessions.append(f"ses-{session}\t{day}T10:00:00\t{rng.normal(72, 12):.0f}")
            name = f"sub-{participant}_ses-{session}"
            _write_raw(raw, participant, session, name, rng)
            volume_ml = float(np.exp(severity + rng.normal(0, 0.15) + 0.1 * session))
            _write_visit(out, participant, session, name, (volume_ml, brain_ml + rng.normal(0, 15)), rng)
        (raw / f"sub-{participant}" / f"sub-{participant}_sessions.tsv").write_text("\n".join(sessions) + "\n")
    (raw / "participants.tsv").write_text("\n".join(people) + "\n")
    return raw, out


def _write_raw(raw: Path, participant: str, session: int, name: str, rng: np.random.Generator) -> None:
    anat = raw / f"sub-{participant}" / f"ses-{session}" / "anat"
    anat.mkdir(parents=True)
    for suffix in ("T1w", "FLAIR") if rng.random() > 0.02 else ("T1w",):
        (anat / f"{name}_{suffix}.nii.gz").touch()


def _write_visit(
    out: Path, participant: str, session: int, name: str, volumes_ml: tuple[float, float], rng: np.random.Generator
) -> None:
    """Write what the participant level leaves, but for images; or less, as happens."""
    fate = rng.random()
    if fate < 0.03:
        return
    anat = out / f"sub-{participant}" / f"ses-{session}" / "anat"
    anat.mkdir(parents=True)
    model = MODEL | ({"ModelName": "older", "ModelSHA256": "ab" * 32} if fate > 0.98 else {})
    sizes_mm3 = _draw_sizes(volumes_ml[0] * 1000, rng) if fate < 0.96 else np.array([])
    if 0.94 < fate < 0.95:
        volumes_ml = (volumes_ml[0], 300.0)
    brain_ml = volumes_ml[1]
    lesions = ["index\tname\tvolume_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\tmean_probability"]
    for index, size in enumerate(sizes_mm3, start=1):
        x, y, z = rng.normal((0, -20, 20), (25, 30, 15))
        lesions.append(f"{index}\tlesion{index}\t{size:.6g}\t{x:.6g}\t{y:.6g}\t{z:.6g}\t{rng.uniform(0.55, 0.95):.6g}")
    stem = anat / name
    dseg, stats = f"{stem}_space-T1w_seg-lesions_dseg", f"{stem}_desc-lesions_stats"
    Path(f"{dseg}.tsv").write_text("\n".join(lesions) + "\n")
    Path(f"{dseg}.json").write_text(json.dumps(model | {"GeneratedByVersion": __version__}))
    quality = f"{stem}_desc-quality_stats"
    flag = "low_lesion_contrast" if 0.90 < fate < 0.94 else "n/a"
    Path(f"{quality}.tsv").write_text(f"flair_snr\tquality_flags\n{rng.normal(20, 3):.6g}\t{flag}\n")
    Path(f"{quality}.json").write_text(json.dumps({"QualityFlags": {flag: "1.1, below 1.3"} if flag != "n/a" else {}}))
    Path(f"{stats}.json").write_text(json.dumps(model | {"QualityFlags": {}}))
    if fate < 0.04:
        return
    total_ml = float(np.sum([float(f"{size:.6g}") for size in sizes_mm3])) / 1000
    header = "n_lesions\tlesion_volume_t1w_ml\tlesion_volume_flair_ml\tbrain_volume_ml"
    numbers = f"{len(sizes_mm3)}\t{total_ml:.6g}\t{total_ml * rng.normal(1, 0.02):.6g}\t{brain_ml:.6g}"
    Path(f"{stats}.tsv").write_text(f"{header}\n{numbers}\n")


def _draw_sizes(total_mm3: float, rng: np.random.Generator) -> np.ndarray:
    """Return log-normal lesion sizes of about a total, from the largest."""
    sizes = np.maximum(rng.lognormal(4.0, 1.2, size=max(1, int(total_mm3 / 110))), 10)
    return np.sort(sizes)[::-1]


def main() -> int:
    """Make the cohort unless it is there, run the group level on it, say how long and how much memory it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_visits", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if not options.folder.exists():
        write_cohort(options.folder, options.n_visits)
    began = time.perf_counter()
    code = run_app([str(options.folder / "dataset"), str(options.folder / "out"), "group"])
    seconds = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    page_mb = (options.folder / "out" / "group.html").stat().st_size / 1e6
    print(
        f"{options.n_visits} visits: {seconds:.1f} s ({time.process_time():.1f} s of processor time), "
        f"{peak_mb:.0f} MB at most, page of {page_mb:.1f} MB, exit code {code}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
