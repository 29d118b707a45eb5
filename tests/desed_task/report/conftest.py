"""The report that most tests look at, drawn once."""

import numpy as np
import pytest

from desed_task.report import ReportSystem, write_report
from desed_task.sod import SodResult
from tests.support.audio_files import write_tone
from tests.support.report_cases import (
    Page,
    Written,
    fake_intervals,
    make_systems,
    truth_with_names,
)


@pytest.fixture(scope="session")
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
