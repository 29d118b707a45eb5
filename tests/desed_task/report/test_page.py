import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from desed_task.evaluation.results import HEADLINE_METRICS
from tests.support.paths import ROOT
from tests.support.report_cases import (
    CLASSES,
    LONG,
    NASTY,
    NASTY_CLASS,
    NASTY_CLIP,
    SLUGS,
    Written,
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def test_importing_the_report_needs_no_drawing_and_no_network_library() -> None:
    code = (
        "import sys, desed_task.report; "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_section_is_on_the_page_and_in_the_table_of_contents(written: Written) -> None:
    assert written.page.ids == SLUGS
    assert written.page.links == [f"#{slug}" for slug in SLUGS]


def test_nothing_is_loaded_from_elsewhere(written: Written) -> None:
    page = written.page
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "base", "source"})
    assert len(page.images) > 10
    for image in page.images:
        assert (image["src"] or "").startswith("data:image/png;base64,iVBOR")
        assert len(image["alt"] or "") > 20
        assert int(image["width"] or 0) > 100
        assert int(image["height"] or 0) > 50
    assert not re.search(r"http|url\(|@import", page.text)
    assert len(page.text) < 3_000_000


def test_metrics_of_all_systems_are_side_by_side(written: Written) -> None:
    page, metrics = written.page, written.metrics.values()
    assert page.tables[0][0] == ["metric", *written.metrics]
    for name, title in HEADLINE_METRICS.items():
        values = [getattr(each, name) for each in metrics]
        found = [cell.split(" [")[0] for cell in page.row(0, title)]
        assert found == ["–" if value is None else f"{value:.4f}" for value in values]
    assert [cell[6:] for cell in page.row(0, "PSDS1 (exact)")] == [" [0.123, 0.988]"] * 2 + [""] * 2
    assert "90 % intervals of 500 bootstrap replicates" in page.words
    for reason in ("for _points and events: exact PSDS", "for events: PSDS from operating points"):
        assert f"– {reason} needs" in page.words


def test_differences_whose_interval_excludes_0_are_marked(written: Written) -> None:
    table = written.page.tables[1]
    assert table == [
        ["metric", f"scores − {NASTY}"],
        ["PSDS1 (exact)", "−0.2500 [−0.400, −0.100] *"],
        ["PSDS2 (exact)", "–"],
        ["event-based F1, macro", "+0.1000 [+0.050, +0.150] *"],
        ["event-based F1, micro", "+0.1000 [−0.050, +0.150]"],
    ]
    assert written.page.text.count('class="marked"') == 2


def test_clip_counts_thresholds_and_notes(written: Written) -> None:
    page = written.page
    n_empty = sum(not events for events in written.truth.events.values())
    assert page.row(2, "clips scored") == ["12"] * 4
    assert page.row(2, "clips without true events") == [str(n_empty)] * 4
    assert page.row(2, "clips without predictions") == ["0"] * 4
    assert page.row(2, "clips whose detections were dropped") == ["0"] * 4
    assert page.row(2, "F1 threshold") == ["0.5", "one per class", "0.49", "the system's own"]
    assert page.row(2, "operating points") == ["50", "50", "50", "–"]
    assert page.row(2, "remark") == [f"note on {name}" for name in written.metrics]


def test_classes_have_their_metrics_and_no_underscores(written: Written) -> None:
    (table,) = [table for table in written.page.tables if table[0][0] == "class"]
    rows = [dict(zip(table[0], cells, strict=True)) for cells in table[1:]]
    names = [name.replace("_", " ") for name in CLASSES]
    systems = written.metrics
    assert [(row["class"], row["system"]) for row in rows] == [
        (name, system) for name in names for system in systems
    ]
    found = (metrics.per_class[name] for name in CLASSES for metrics in systems.values())
    for row, metrics in zip(rows, found, strict=True):
        assert row["true"] == str(metrics.true)
        assert row["detected"] == f"{metrics.detected:.0f}"
        assert row["correct"] == f"{metrics.event_true_positives:.0f}"
        assert row["event F1"] == ("–" if metrics.event_f1 is None else f"{metrics.event_f1:.3f}")
        psds = (metrics.psds1_sed_scores_eval, metrics.psds1_psds_eval)
        expected = next((value for value in psds if value is not None), None)
        assert row["PSDS1"] == ("–" if expected is None else f"{expected:.3f}")
    assert LONG not in written.page.words


def test_areas_of_the_curves(written: Written) -> None:
    scored, _, points, _ = written.metrics.values()
    words = written.page.words
    assert f"scores: {scored.psds1_sed_scores_eval:.4f} (exact)" in words
    assert f"_points: {points.psds1_psds_eval:.4f} (50 operating points" in words
    assert "Without a curve: events." in words


def test_sod_and_polyphony(written: Written) -> None:
    assert "Correct frames: scores: 75.0 %." in written.page.words
    assert "agree: scores: 87.5 %." in written.page.words
    shares = re.search(r"Correct time: (.*)\.", written.page.words)
    assert shares is not None
    assert [text.split(": ")[0] for text in shares[1].split("; ")] == list(written.metrics)


def test_worst_clips_are_named_with_every_system(written: Written) -> None:
    table = next(table for table in written.page.tables if table[0][0] == "clip")
    assert table[0] == ["clip", *written.metrics]
    assert {cells[0] for cells in table[1:]} <= set(written.truth.events)
    scores = [float(cells[1].split()[0]) for cells in table[1:]]
    assert len(scores) == 5
    assert scores == sorted(scores)
    assert "No spectrogram: the audio folder holds no file of clip" in written.page.words


def test_all_text_is_escaped(written: Written) -> None:
    page = written.page
    assert page.tags.isdisjoint({"b", "i", "script"})
    for name in ("Title <1> & more", NASTY, f"note on {NASTY}", NASTY_CLIP, NASTY_CLASS):
        assert name in page.words
    assert any(NASTY in (image["alt"] or "") for image in page.images)
    assert any(NASTY_CLIP in (image["alt"] or "") for image in page.images)


def test_no_file_is_written_outside_the_report(written: Written) -> None:
    paths = [path for path in written.folder.rglob("*") if "audio" not in path.parts]
    files = {path.relative_to(written.folder).as_posix() for path in paths if path.is_file()}
    pictures = {path.name for path in (written.folder / "report_pictures").iterdir()}
    assert files == {"report.html"} | {f"report_pictures/{name}" for name in pictures}
    assert all(re.fullmatch(r"[a-z0-9_]+\.png", name) for name in pictures)
    assert not list(written.folder.parent.glob("outside*"))


def test_the_picture_files_are_those_of_the_page(written: Written) -> None:
    embedded = [
        base64.b64decode((image["src"] or "").split(",")[1]) for image in written.page.images
    ]
    files = [path.read_bytes() for path in (written.folder / "report_pictures").iterdir()]
    assert sorted(files) == sorted(embedded)


def test_pictures_are_not_blank(written: Written) -> None:
    for path in (written.folder / "report_pictures").iterdir():
        with Image.open(path) as image:
            assert len(image.getcolors() or ()) > 20, path.name


def test_the_page_in_a_browser(written: Written, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    shot = tmp_path / "page.png"
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1200,6000",
            f"--screenshot={shot}",
            (written.folder / "report.html").as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    with Image.open(shot) as image:
        assert image.size == (1200, 6000)
        for third in range(3):
            part = image.convert("RGB").crop((0, 2000 * third, 1200, 2000 * (third + 1)))
            colours = part.getcolors(maxcolors=1 << 24)
            assert colours is not None
            assert len(colours) > 200
            painted = sum(count for count, colour in colours if colour != (255, 255, 255))
            assert painted > 0.03 * 1200 * 2000
