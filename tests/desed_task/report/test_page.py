import base64
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from desed_task.evaluation import GroundTruth, SystemMetrics
from desed_task.report import ReportSystem, write_report
from desed_task.sod import SodResult
from tests.support.audio_files import write_tone
from tests.support.report_cases import (
    CLASSES,
    LONG,
    NASTY,
    NASTY_CLASS,
    NASTY_CLIP,
    SLUGS,
    Page,
    fake_intervals,
    make_systems,
    truth_with_names,
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Written:
    """A report on four systems of different kinds, with intervals, SOD and audio."""

    folder: Path
    truth: GroundTruth
    metrics: dict[str, SystemMetrics]
    page: Page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    rng = np.random.default_rng(5)
    truth = truth_with_names(rng)
    metrics = make_systems(truth, rng)
    folder = tmp_path_factory.mktemp("report")
    audio = folder / "audio"
    for number, clip in enumerate(list(truth.events)[2::2]):
        write_tone(audio / clip, truth.durations[clip], (8000, 16000, 44100)[number % 3])
    sod = SodResult(np.array([[60, 30, 10], [5, 90, 5], [0, 0, 0]]), 0.875)
    systems = [
        ReportSystem(name, each, sod if name == "scores" else None, f"note on {name}")
        for name, each in metrics.items()
    ]
    path = write_report(
        folder,
        systems,
        title="Title <1> & more",
        intervals=fake_intervals(metrics),
        audio=audio,
    )
    assert path == folder / "report.html"
    return Written(folder, truth, metrics, Page(path.read_text(encoding="utf-8")))


def test_every_section_is_on_the_page_and_in_the_table_of_contents(written: Written) -> None:
    assert written.page.ids == SLUGS
    assert written.page.links == [f"#{slug}" for slug in SLUGS]


def test_nothing_is_loaded_from_elsewhere(written: Written) -> None:
    page = written.page
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "base", "source"})
    assert len(page.images) > 15
    for image in page.images:
        assert (image["src"] or "").startswith("data:image/png;base64,iVBOR")
        assert len(image["alt"] or "") > 20
        assert int(image["width"] or 0) > 100
        assert int(image["height"] or 0) > 50
    assert "http" not in page.text
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_the_page_is_small(written: Written) -> None:
    assert len(written.page.text) < 3_000_000


def test_metrics_of_all_systems_are_side_by_side(written: Written) -> None:
    page, metrics = written.page, list(written.metrics.values())
    assert page.tables[0][0] == ["metric", *written.metrics]
    scored, boxes, points, _ = metrics
    assert page.row(0, "PSDS1 (exact)") == [
        f"{scored.psds1_sed_scores_eval:.4f} [0.123, 0.988]",
        f"{boxes.psds1_sed_scores_eval:.4f} [0.123, 0.988]",
        "–",
        "–",
    ]
    assert page.row(0, "PSDS2 (operating points)") == [
        *(f"{each.psds2_psds_eval:.4f}" for each in (scored, boxes, points)),
        "–",
    ]
    for title, name in (
        ("event-based F1, micro", "event_f1_micro"),
        ("segment-based F1, macro", "segment_f1_macro"),
        ("segment-based F1, micro", "segment_f1_micro"),
        ("intersection-based F1, macro over found classes", "intersection_f1_macro"),
        ("intersection-based F1, macro", "intersection_f1_macro_occurring"),
        ("intersection-based F1, micro", "intersection_f1_micro"),
    ):
        assert page.row(0, title) == [f"{getattr(each, name):.4f}" for each in metrics]
    assert "90 % intervals of 500 bootstrap replicates" in page.words


def test_undefined_metrics_are_explained(written: Written) -> None:
    assert "– for _points and events: exact PSDS needs scores." in written.page.words
    assert "– for events: PSDS from operating points needs events at several" in written.page.words


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
    assert page.row(2, "clips scored") == ["12"] * 4
    assert (
        page.row(2, "clips without true events")
        == [str(sum(not events for events in written.truth.events.values()))] * 4
    )
    assert page.row(2, "clips without predictions") == ["0"] * 4
    assert page.row(2, "clips whose detections were dropped") == ["0"] * 4
    assert page.row(2, "F1 threshold") == ["0.5", "one per class", "0.49", "the system's own"]
    assert page.row(2, "operating points") == ["50", "50", "50", "–"]
    assert page.row(2, "remark") == [f"note on {name}" for name in written.metrics]


def test_classes_have_their_metrics_and_no_underscores(written: Written) -> None:
    page = written.page
    tables = [table for table in page.tables if table[0][0] == "class"]
    assert len(tables) == 4
    for table, metrics in zip(tables, written.metrics.values(), strict=True):
        assert [cells[0] for cells in table[1:]] == [name.replace("_", " ") for name in CLASSES]
        for cells, class_metrics in zip(table[1:], metrics.per_class.values(), strict=True):
            named = dict(zip(table[0], cells, strict=True))
            assert named["true events"] == str(class_metrics.true)
            assert named["detected"] == f"{class_metrics.detected:.0f}"
            occurs = class_metrics.event_f1 is not None
            assert named["event F1"] == (f"{class_metrics.event_f1:.3f}" if occurs else "–")
            assert named["correct (event)"] == f"{class_metrics.event_true_positives:.0f}"
            if metrics.scoring_input.scores is not None and occurs:
                assert named["PSDS1 (exact)"] == f"{class_metrics.psds1_sed_scores_eval:.3f}"
            if metrics.scoring_input.points is not None and occurs:
                assert named["PSDS2 (operating points)"] == f"{class_metrics.psds2_psds_eval:.3f}"
    assert LONG not in page.words


def test_curves_are_said_to_be_exact_or_not(written: Written) -> None:
    scored, _, points, _ = written.metrics.values()
    words = written.page.words
    assert f"scores: {scored.psds1_sed_scores_eval:.4f} (exact)" in words
    assert f"_points: {points.psds1_psds_eval:.4f} (50 operating points)" in words
    assert "Without a curve: events." in words


def test_sod_and_polyphony(written: Written) -> None:
    tables = [table for table in written.page.tables if table[0][0] == "system"]
    assert [cells[0] for cells in tables[0][1:]] == list(written.metrics)
    assert tables[1] == [
        ["system", "correct frames", "frames in which SED and SOD agree"],
        ["scores", "75.0 %", "87.5 %"],
    ]


def test_best_and_worst_clips_are_named_with_every_system(written: Written) -> None:
    table = next(table for table in written.page.tables if table[0][0] == "clip")
    assert table[0] == ["clip", *written.metrics]
    assert [cells[0].split(":")[0] for cells in table[1:]] == [
        *("best 1", "best 2", "best 3"),
        *("worst 1", "worst 2", "worst 3"),
    ]
    scores = [float(cells[1].split()[0]) for cells in table[1:]]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert scores[3:] == sorted(scores[3:])
    assert max(scores[3:]) <= min(scores[:3])
    assert re.search(r"No spectrogram: the audio folder holds no file of clip", written.page.words)


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
