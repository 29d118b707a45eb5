"""Which labels and detections contradict each other, and which recording a table names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.detect import Settings
from desed_task.evaluation.outputs import Scores
from desed_task.labels import Event
from desed_task.review import Audio, Place
from local.collect import main
from local.results.review import (
    DETECTED_LABEL,
    UNDETECTED_LABEL,
    UNLABELLED,
    _origins,
    clip_places,
)
from tests.support.tiny_model import CLASSES, tiny_description

BELL, CAT, DOG = CLASSES


@pytest.mark.parametrize("method", ["median", "sebbs"])
def test_labels_and_detections_that_contradict_each_other(method: str) -> None:
    values = np.full((1, 3, 100), 0.01)
    values[0, 0, 10:20] = 0.9  # a bell as labelled
    values[0, 0, 50:60] = 0.8  # one without a label
    values[0, 1, 30:40] = 0.3  # a cat that is not quite detected
    values[0, 2, 90:100] = 0.7  # a dog that begins behind the end of the clip
    labels = [Event(1.2, 2.5, BELL), Event(3, 4, CAT), Event(7, 20, DOG)]
    audio = Audio("night.wav", Path("clip.wav"), 8.5)
    scores = Scores(values, ["clip.wav"], np.arange(101) / 10)
    settings = Settings(method=method).checked(tiny_description())  # type: ignore[arg-type]
    found = list(clip_places(audio, scores, labels, CLASSES, settings))
    assert [(place.kind, place.event_label) for place in found] == [
        (DETECTED_LABEL, BELL),
        (UNDETECTED_LABEL, CAT),
        (UNDETECTED_LABEL, DOG),
        (UNLABELLED, BELL),
    ]
    assert found[2].offset == 8.5
    assert (found[3].onset, found[3].offset) == pytest.approx((5, 6), abs=0.2)
    by_class = {place.event_label: place for place in found[1:3]}
    assert by_class[CAT].value == pytest.approx(0.3, abs=0.05)
    assert by_class[DOG].doubt > by_class[CAT].doubt
    assert found[3].doubt == pytest.approx(0.8, abs=0.1)
    assert all(isinstance(place, Place) and place.audio == audio for place in found)


def test_clips_of_collect_are_named_by_their_recordings(tmp_path: Path) -> None:
    rows = []
    (tmp_path / "audio").mkdir()
    for number in range(6):
        path = tmp_path / "audio" / f"r{number}.wav"
        soundfile.write(path, np.zeros(12 * 8000), 8000)
        rows.append((path.name, 1, 2, "Dog"))
    columns = ["filename", "onset", "offset", "event_label"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    out = tmp_path / "out"
    given = [f"--audio={tmp_path / 'audio'}", f"--labels={tmp_path / 'labels.tsv'}"]
    main([*given, f"--output={out}", "--clip_seconds=5"])
    origins = _origins(out)
    clips = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    validation = clips[clips.set_name == "synthetic_validation"]
    assert len(validation)
    assert origins == {row.filename: (row.recording, row.start) for row in validation.itertuples()}
    assert _origins(tmp_path) == {}
    (out / "metadata" / "clips.tsv").write_text("edited\n")
    assert _origins(out) == {}
