from pathlib import Path

import numpy as np
import pandas as pd

from desed_task.evaluation import Scores, evaluate, libraries, read_scores, to_frame, write_system
from tests.support import cases


def test_a_system_s_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 8)
    raw = cases.random_scores(rng, truth, levels=None)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    metrics = evaluate(Scores(scores, names, cases.GRID), truth)
    write_system(tmp_path / "student", metrics, raw_scores=Scores(raw, names, cases.GRID))
    files = sorted(path.name for path in (tmp_path / "student").iterdir())
    assert files == [
        "event_f1.txt",
        "events_0.5.tsv",
        "scores",
        "segment_f1.txt",
    ]
    assert metrics.scoring_input.detections is not None
    events = to_frame(metrics.scoring_input.detections, names, truth.classes)
    written = pd.read_csv(tmp_path / "student" / "events_0.5.tsv", sep="\t")
    pd.testing.assert_frame_equal(written, events)
    assert len(events) > 10
    for name, library in (("event", libraries.event_based), ("segment", libraries.segment_based)):
        report = (tmp_path / "student" / f"{name}_f1.txt").read_text()
        assert report == libraries.report(library(events, truth))
        macro = metrics.event_f1_macro if name == "event" else metrics.segment_f1_macro
        assert macro is not None
        assert f"F-measure (F1)                  : {100 * macro:.2f} %" in report
    for kind, values in (("raw", raw), ("postprocessed", scores)):
        read = read_scores(tmp_path / "student" / "scores" / kind, truth)
        order = [list(read.names).index(name) for name in names]
        np.testing.assert_array_equal(read.values[order].astype(np.float32), values)


def test_without_raw_scores_and_without_defined_metrics(tmp_path: Path) -> None:
    truth = cases.truth_of({"a.wav": []})
    scores = np.zeros((1, 4, 156))
    metrics = evaluate(Scores(scores, ["a.wav"], cases.GRID), truth, f1_threshold=0.3)
    write_system(tmp_path, metrics)
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "event_f1.txt",
        "events_0.3.tsv",
        "scores/postprocessed/a.tsv",
        "segment_f1.txt",
    ]
    table = (tmp_path / "events_0.3.tsv").read_text()
    assert table == "filename\tonset\toffset\tevent_label\n"
