from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.names import derivative_path, visit_record_path
from bids_cascade.report import participant as module
from bids_cascade.report.participant import participant_page, write_participant_page
from bids_cascade.visit_key import VisitKey

EVIL = "<script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">"
COLUMNS = ["index", "name", "volume_mm3", "centre_x_mm", "centre_y_mm", "centre_z_mm", "mean_probability"]


def add_record(out: Path, visit: Visit, **changed: Any) -> None:
    record = {
        "visit": visit.name,
        "exit_code": 0,
        "message": "",
        "ended": "2026-01-02T03:04:05+00:00",
        "command": ["bids-cascade", "/data", "/out", "participant"],
        "dataset": "A dataset",
        "images": {"FLAIR": {"path": "/data/x_FLAIR.nii.gz", "reason": "the only one"}},
        "missing": [],
        "log_folder": "logs/20260102T030405_1",
        "crash_reports": [],
        "version": "0.1",
    }
    write_json(record | changed, visit_record_path(out, visit.name))


def add_results(out: Path, visit: Visit, drawn: list[Path], volume_ml: float = 4.608, model: str = "tiny") -> None:
    stats = {
        "n_lesions": 2,
        "n_lesions_14mm3": 1,
        "lesion_volume_t1w_ml": volume_ml,
        "lesion_volume_flair_ml": 4.5,
        "brain_volume_ml": 1300.5,
    }
    sidecar = {"n_lesions": {"Description": "Number of lesions"}, "ModelName": model}
    write_tsv([stats], list(stats), derivative_path(out, visit, "stats", ".tsv", desc="lesions"), sidecar)
    rows = [(1, "lesion1", 4096, 30, 40, 20, 0.9), (2, "lesion2", 512, -30, -40, -20, 0.9)]
    lesions = derivative_path(out, visit, "dseg", ".tsv", space="T1w", seg="lesions")
    write_tsv([dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS, lesions)
    for path in drawn:
        desc, _, suffix = path.stem.removeprefix("desc-").partition("_")
        target = derivative_path(out, visit, suffix, path.suffix, desc=desc)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)))


def page_of(out: Path, participant: str = "01") -> str:
    return write_participant_page(out, participant).read_text(encoding="utf-8")


def test_numbers_are_those_of_the_tables(tmp_path: Path, drawn: list[Path]) -> None:
    visit = VisitKey("01", None)
    add_results(tmp_path, visit, drawn, volume_ml=4.608)
    add_record(tmp_path, visit)
    text = text_of(page_of(tmp_path))
    assert "sub-01 done 2 1 4.61 1300" in text, "the overview's row"
    assert "1 lesion1 4096 30 40 20 0.9 2 lesion2 512 -30 -40 -20 0.9" in text
    assert "registration_similarity_flair 0.15 Normalised mutual information" in text
    assert "No quality flag" in text
    assert "A dataset; 1 visit." in text


def test_outlines_are_explained_in_the_colours_they_are_drawn_in(tmp_path: Path, drawn: list[Path]) -> None:
    visit = VisitKey("01", None)
    add_record(tmp_path, visit)
    add_results(tmp_path, visit, drawn)
    text = write_participant_page(tmp_path, "01").read_text()
    legend = re.findall(r'class="key" style="color: (#\w+)">(.*?)<', text)
    assert {name for _, name in legend} == {"final mask", "candidates of stage 1", "brain mask"}
    kinds = {"final mask": "lesion", "candidates of stage 1": "candidate", "brain mask": "brain"}
    svg = next(path for path in drawn if path.name.startswith("desc-lesions")).read_text()
    for colour, name in legend:
        assert f".{kinds[name]}{{stroke:{colour};" in svg


def test_visits_come_in_natural_order(tmp_path: Path, drawn: list[Path]) -> None:
    for session in ("10", "2", "1", "20"):
        add_results(tmp_path, VisitKey("01", session), drawn)
    assert re.findall(r'<h2 id="sub-01_ses-(\d+)">', page_of(tmp_path)) == ["1", "2", "10", "20"]


def test_flags_of_both_tables_are_shown_with_their_reasons_once(tmp_path: Path, drawn: list[Path]) -> None:
    visit = VisitKey("01", None)
    add_results(tmp_path, visit, drawn)
    add_record(tmp_path, visit)
    for desc, flags in (
        ("lesions", {"orientation_is_a_guess": "left and right", "truncated_field_of_view": "only 90 %"}),
        ("quality", {"truncated_field_of_view": "only 89.7 %"}),
    ):
        path = derivative_path(tmp_path, visit, "stats", ".json", desc=desc)
        path.write_text(json.dumps({**json.loads(path.read_text()), "QualityFlags": flags}))
    text = text_of(page_of(tmp_path))
    assert text.count("orientation is a guess") == text.count("truncated field of view") == 2
    assert "left and right" in text
    assert "only 89.7 %" in text
    assert "only 90 %" not in text


def test_a_failed_visit_has_a_page_with_its_crash_report(tmp_path: Path) -> None:
    crash = tmp_path / "logs" / "run" / "crash-1.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("Node: bids_cascade.sub_01.brain\nTraceback\nValueError: <b>odd</b>\n")
    secret = tmp_path.parent / "secret.txt"
    secret.write_text("not of this dataset")
    names = ["logs/run/crash-1.txt", "../secret.txt", "logs/run/gone.txt"]
    add_record(tmp_path, VisitKey("01", "1"), exit_code=65, message="FAILED: x.nii is broken", crash_reports=names)
    html = page_of(tmp_path)
    assert "FAILED: x.nii is broken" in html
    assert "ValueError: &lt;b&gt;odd&lt;/b&gt;" in html
    assert "not of this dataset" not in html
    assert "failed" in text_of(html)
    assert "earlier" not in text_of(html)


def test_a_missing_image_and_earlier_results_are_named(tmp_path: Path, drawn: list[Path]) -> None:
    visit = VisitKey("01", "1")
    add_results(tmp_path, visit, drawn)
    add_record(tmp_path, visit, exit_code=66, message="not processed: no T1w image", missing=["T1w"])
    html = page_of(tmp_path)
    text = text_of(html)
    assert '<div class="notice note"' in html
    assert '<div class="notice error"' not in html, "nothing has gone wrong"
    assert "not processed, earlier results" in text
    assert "results of an earlier run" in text
    assert "T1w missing" in text


def test_results_without_figures_say_so(tmp_path: Path) -> None:
    visit = VisitKey("01", None)
    add_results(tmp_path, visit, [])
    add_record(tmp_path, visit, message="no report: MemoryError")
    text = text_of(page_of(tmp_path))
    assert "Figures or quality measures are missing" in text
    assert "no report: MemoryError" in text
    assert "not judged" in text


def test_unreadable_files_are_named(tmp_path: Path, drawn: list[Path]) -> None:
    visit = VisitKey("01", None)
    add_results(tmp_path, visit, drawn)
    derivative_path(tmp_path, visit, "stats", ".json", desc="lesions").write_text("{")
    derivative_path(tmp_path, visit, "dseg", ".tsv", space="T1w", seg="lesions").write_text("a\tb\n1\n")
    visit_record_path(tmp_path, visit.name).parent.mkdir(parents=True)
    visit_record_path(tmp_path, visit.name).write_text("[]")
    text = text_of(page_of(tmp_path))
    assert "sub-01_desc-lesions_stats.json can" in text
    assert "be read as JSON: Expecting" in text
    assert "sub-01_space-T1w_seg-lesions_dseg.tsv: line 2 has" in text
    assert "sub-01.json holds a list instead of a JSON object" in text


def test_other_participants_are_not_mixed_in(tmp_path: Path) -> None:
    for name in ("1", "10", "1x"):
        add_record(tmp_path, VisitKey(name, "a"))
        add_record(tmp_path, VisitKey(name, None))
    found = [visit.name for visit in module._find_visits(tmp_path, "1")]
    assert found == ["sub-1", "sub-1_ses-a"]


def test_pages_lead_to_each_other_and_to_files(tmp_path: Path, drawn: list[Path]) -> None:
    def links(label: str) -> list[str]:
        html = (tmp_path / f"sub-{label}.html").read_text()
        return re.findall(r'href="([^"]*)"', html.partition('class="pages"')[2].partition("</nav>")[0])

    for label in ("10", "2"):
        add_results(tmp_path, VisitKey(label, "a"), drawn)
        write_participant_page(tmp_path, label)
    assert links("2") == ["./group.html", "./sub-10.html"]
    assert links("10") == ["./group.html", "./sub-2.html"]
    add_record(tmp_path, VisitKey("3", None), exit_code=66)
    write_participant_page(tmp_path, "3")
    assert links("2") == ["./group.html", "./sub-3.html"]
    assert links("3") == ["./group.html", "./sub-2.html", "./sub-10.html"]
    assert links("10") == ["./group.html", "./sub-3.html"]
    html = (tmp_path / "sub-2.html").read_text()
    assert "once the group level has run" in html
    files = re.findall(r'href="(\./sub-2/ses-a/anat/[^"]*)"', html)
    assert {Path(link).name.removeprefix("sub-2_ses-a_") for link in files} == {
        *("desc-lesions_stats.tsv", "desc-quality_stats.tsv", "space-T1w_seg-lesions_dseg.tsv"),
    }
    assert all((tmp_path / link).is_file() for link in files)
    (tmp_path / "group.html").touch()
    assert "once the group level has run" not in page_of(tmp_path, "2")


def test_page_is_written_again_when_something_appears_meanwhile(
    tmp_path: Path, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_record(tmp_path, VisitKey("01", "1"))
    pages = []

    def assemble(*arguments: Any) -> str:
        html = participant_page(*arguments)
        if not pages:  # another run finishes after this one has looked
            add_record(tmp_path, VisitKey("01", "2"))
        pages.append(html)
        return html

    monkeypatch.setattr(module, "participant_page", assemble)
    html = page_of(tmp_path)
    assert len(pages) == 2
    assert "ses-2" not in pages[0]
    assert "ses-2" in html
    assert not list(tmp_path.glob(".*"))


def test_page_in_browser(tmp_path: Path, drawn: list[Path], browser: Any) -> None:
    for session in ("1", "2"):
        visit = VisitKey("01", session)
        add_results(tmp_path, visit, drawn, model=EVIL)
        add_record(tmp_path, visit, dataset=EVIL, message=EVIL, command=[EVIL, "</code>"])
    failed = VisitKey("01", "3")
    (tmp_path / "logs" / "crash-x.txt").write_text(f"Node: x\n{EVIL}")
    add_record(tmp_path, failed, exit_code=1, message=EVIL, crash_reports=["logs/crash-x.txt"])
    path = write_participant_page(tmp_path, "01")
    one = browser.open(path)
    assert one.evaluate("document.title") == "sub-01"
    missing = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert one.evaluate(missing) == 0
    links = one.evaluate(
        "[...document.querySelectorAll('main a[href^=\"./\"], object, iframe, img')]"
        ".map(e => e.getAttribute('href') || e.getAttribute('data') || e.getAttribute('src'))"
    )
    assert len(links) > 2 * 7
    for link in links:
        assert (tmp_path / link.partition("#")[0]).is_file(), link
    drawings = "[...document.querySelectorAll('object')].map(e => e.getBoundingClientRect().height)"
    assert min(one.evaluate(drawings)) > 100, "an object that doesn't load shows its text alone"
    for width in (360, 1280):
        one.resize(width, 800)
        assert one.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert one.problems == []
    assert all(url.startswith(("file:", "data:")) for url in one.requests)
    one.close()


VIEWER_HEIGHT = (
    "new Promise(done => {const { style } = document.querySelector('iframe');"
    "const wait = () => style.height ? done(parseFloat(style.height)) : setTimeout(wait, 20); wait()})"
)


def test_a_lesions_number_leads_to_its_place(tmp_path: Path, drawn: list[Path], browser: Any) -> None:
    add_results(tmp_path, VisitKey("01", None), drawn)
    one = browser.open(write_participant_page(tmp_path, "01"))
    one.evaluate("document.querySelector('iframe').scrollIntoView()")
    assert one.evaluate(VIEWER_HEIGHT) > 200, "the viewer has said how tall it is"
    one.evaluate("document.querySelectorAll('tbody a[href*=lesion-]')[1].click()")
    assert one.evaluate("document.querySelector('iframe').src").endswith("_desc-viewer_FLAIR.html#lesion-2")
    assert one.evaluate("location.pathname").endswith("sub-01.html"), "the page itself stays"
    assert one.problems == []
    one.close()


def test_the_wheel_scrolls_the_page_until_the_viewer_has_the_focus(
    tmp_path: Path, drawn: list[Path], browser: Any
) -> None:
    add_results(tmp_path, VisitKey("01", None), drawn)
    one = browser.open(write_participant_page(tmp_path, "01"))
    one.evaluate("document.querySelector('iframe').scrollIntoView({ behavior: 'instant' })")
    one.evaluate(VIEWER_HEIGHT)

    def scrolled() -> float:
        one.turn_wheel(400, 150, 100)
        one.turn_wheel(400, 150, 100)
        return one.evaluate("new Promise(done => setTimeout(() => done(scrollY), 1000))")

    top = one.evaluate("scrollY")
    below = scrolled()
    assert below > top
    one.click(400, 50)
    assert one.evaluate("document.activeElement.className") == "viewer"
    assert scrolled() == below
    assert one.problems == []
    one.close()


def test_methods_are_given_once_for_equal_visits(tmp_path: Path, drawn: list[Path]) -> None:
    versions = dict.fromkeys(("nipype", "pybids", "nibabel", "torch", "deepbet", "antspyx"), "1")
    known = {
        "SoftwareVersions": versions,
        "Sequences": ["T1w", "FLAIR"],
        "CandidateSequence": "FLAIR",
        "CandidateLevel": 1.125,
    }
    known |= {"GateProbability": 0.8, "VoxelSize": 1, "RandomSeed": 0, "BrainMaskMethod": "deepbet", "Threshold": 0.5}
    known |= {"ModelSHA256": "0", "MinLesionVolume": 10, "PeakProbability": 0.8, "GeneratedByVersion": "1"}
    for session, model in (("1", "old"), ("2", "old"), ("3", "new")):
        visit = VisitKey("01", session)
        add_results(tmp_path, visit, drawn)
        sidecar = derivative_path(tmp_path, visit, "stats", ".json", desc="lesions")
        sidecar.write_text(json.dumps(known | {"ModelName": model}))
    methods = page_of(tmp_path).partition('<h2 id="methods">')[2]
    assert methods.count('<div class="methods">') == 2
    assert re.findall(r"<h3>(.*?)</h3>", methods) == ["ses-1, ses-2", "ses-3"]
    assert methods.count('<pre class="bibtex"') == methods.count("@inproceedings{aitali2005,") == 2
    assert "}\n\n@article{fisch2024,\n  author = {Fisch, L." in methods
    assert "the model old (SHA-256 0)" in methods
    assert "the model new (SHA-256 0)" in methods
