"""Reports on few or no events, with unreadable audio, and the files of a report."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from desed_task.evaluation import EventTable, OperatingPoints, Scores, evaluate
from desed_task.files import write_file
from desed_task.report import ReportSystem, page, write_psd_rocs, write_report
from desed_task.report.blocks import Picture
from desed_task.report.boundaries import boundary_section
from desed_task.report.clips import clip_section
from desed_task.report.systems import ReportInput
from desed_task.report.thresholds import threshold_section
from tests.support import cases
from tests.support.audio_files import cut_off, write_tone
from tests.support.report_cases import SLUGS, Page, single_system


def test_unreadable_audio_is_a_remark(tmp_path: Path) -> None:
    short = write_tone(tmp_path / "short.wav", 0.01, 16000)
    cut_off(write_tone(tmp_path / "cut.wav", 1.0, 16000))
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    wrong = (0.0, 5.0, "Cat")
    system = single_system({name: [wrong] for name in (short.name, "cut", "broken")}, 0.9)
    section = clip_section(ReportInput([system], audio=tmp_path))
    captions = [block.caption for block in section.blocks if isinstance(block, Picture)]
    remarks = [caption.partition("No spectrogram: ")[2] for caption in captions]
    assert sorted(remark[:21] for remark in remarks) == ["", "", "broken.wav: cannot be"]


@pytest.mark.parametrize(
    ("events", "values"),
    [
        ({"a": [(0.0, 1.0, "Cat")], "b": []}, 0.0),
        ({"a": [], "b": []}, 0.0),
        ({"a": [], "b": []}, 0.9),
    ],
    ids=["nothing detected", "no event", "no true event"],
)
def test_undefined_and_empty_cases(
    tmp_path: Path, events: dict[str, list[tuple[float, float, str]]], values: float
) -> None:
    page = Page(
        write_report(tmp_path, [single_system(events, values)], title="t").read_text("utf-8")
    )
    assert page.ids == SLUGS
    assert "nan" not in page.words.lower().split()
    assert "None" not in page.words
    true = any(events.values())
    assert page.row(0, "event-based F1, macro") == (["0.0000"] if true else ["–"])
    assert ("F1 and PSDS need true events, and the ground truth has none." in page.words) == (
        not true
    )
    assert ("No clip has an error." in page.words) == (not true and not values)


def test_a_system_that_only_gives_operating_points_elsewhere(tmp_path: Path) -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    zero = np.zeros(1)
    events = EventTable(zero.astype(int), zero.astype(int), zero.astype(int), zero, zero + 1)
    points = OperatingPoints(events, (0.3,), ["a"])
    metrics = evaluate(None, truth, operating_points=points)
    path = write_report(tmp_path, [ReportSystem("points", metrics)], title="t")
    page = Page(path.read_text("utf-8"))
    assert "– for points: F1 needs events at one threshold." in page.words
    assert page.words.count("No system has events at one threshold") == 2


def test_an_earlier_report_is_replaced_and_the_page_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "report_pictures"
    pictures.mkdir()
    (pictures / "stale.png").write_bytes(b"old")
    (pictures / "mine.txt").write_text("kept")
    order = []

    def noted(path: Path, content: str | bytes) -> None:
        write_file(path, content)
        order.append(path.name)

    monkeypatch.setattr(page, "write_file", noted)
    monkeypatch.setattr(page, "SECTIONS", (threshold_section, boundary_section))
    system = single_system({"a": [(0.0, 9.984, "Cat")]}, 0.9)
    contents = []
    for _ in range(2):
        write_report(tmp_path, [system], title="t")
        contents.append([(pictures / name).read_bytes() for name in order[:2]])
    assert contents[0] == contents[1]
    assert order == ["thresholds.png", "boundaries.png", "report.html"] * 2
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {*order, "mine.txt"}


def test_psd_roc_pictures_of_defined_scores_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 8)
    scores = Scores(cases.random_scores(rng, truth), list(truth.events), cases.GRID)
    write_psd_rocs(tmp_path, evaluate(scores, truth), title="student <1>")
    assert {path.name for path in tmp_path.iterdir()} == {"psd_roc_1.png", "psd_roc_2.png"}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
        path.unlink()
    write_psd_rocs(tmp_path, single_system({"a": []}).metrics, title="no true event")
    assert list(tmp_path.iterdir()) == []


def test_unsuitable_systems_are_errors(tmp_path: Path) -> None:
    system = single_system({"a": [(0.0, 1.0, "Cat")]})
    other = ReportSystem("other", single_system({"a": [(0.0, 2.0, "Cat")]}).metrics)
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        write_report(tmp_path, [], title="t")
    with pytest.raises(ValueError, match="expected different names"):
        write_report(tmp_path, [system, system], title="t")
    with pytest.raises(ValueError, match="'other': expected the ground truth of system 'only'"):
        write_report(tmp_path, [system, other], title="t")
    assert list(tmp_path.iterdir()) == []
