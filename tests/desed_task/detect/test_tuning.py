"""`sed-detect --tune`: a model's post-processing from labelled recordings."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.detect import Detector, tuning
from desed_task.detect.__main__ import main
from desed_task.detect.events import find_events
from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Predictions, Scores, evaluate
from desed_task.evaluation.events import event_table
from desed_task.labels import Event
from desed_task.making.cutting import Annotated
from desed_task.model import load_model


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings of 5 s, whose loudness changes."""
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(3)
    time = np.arange(5 * 8000) / 8000
    for number in range(5):
        loud = (np.sin(2 * np.pi * time / random.uniform(1, 2) + number) > 0) * 0.3 + 1e-3
        tones = np.sin(2 * np.pi * 440 * time) + random.normal(0, 0.5, len(time))
        soundfile.write(folder / f"{number}.wav", (loud * tones).clip(-1, 1), 8000)
    return folder


@pytest.fixture(scope="module")
def labels(model: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels that the model's scores give at other thresholds than its own."""
    detector = Detector.load(model)
    classes = detector.description.classes
    found = {path.name: detector(path) for path in audio.iterdir()}
    high = np.quantile(np.concatenate([e.values for e in found.values()], axis=1), 0.8, axis=1)
    tables = []
    for name, result in found.items():
        scores = Scores(result.values[None], [name], result.edges)
        events = [vars(event) for event in find_events(scores, classes, high.tolist())]
        tables.append(pd.DataFrame(events).assign(filename=name))
    path = tmp_path_factory.mktemp("labels") / "labels.tsv"
    table = pd.concat(tables)
    assert len(table) > 20
    table[["filename", "onset", "offset", "event_label"]].to_csv(path, sep="\t", index=False)
    return path


def event_f1(model: Path, audio: Path, labels: Path) -> float:
    """Event-based F1 of what the command finds without options."""
    classes = load_model(model).description.classes
    truth: dict[str, list[Event]] = {path.name: [] for path in audio.iterdir()}
    for name, *event in pd.read_table(labels).itertuples(index=False):
        truth[name].append(Event(*event))
    detector = Detector.load(model)
    found = {
        path.name: [Event(e.onset, e.offset, e.event_label) for e in detector(path).detections]
        for path in audio.iterdir()
    }
    predictions = Predictions(event_table([found], list(truth), classes), list(truth))
    durations = dict.fromkeys(truth, 5.0)
    whole = GroundTruth(classes, truth, durations)
    return evaluate(None, whole, predictions=predictions).event_f1_macro or 0.0


def test_a_tuned_copy_finds_more(
    model: Path,
    audio: Path,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = {"tuning_windows": (0.1, 0.3), "sebbs_step": (0.32,), "sebbs_merge_relative": ()}
    monkeypatch.setattr(tuning, "SETTINGS", tuning.SETTINGS.model_copy(update=few))
    (tmp_path / "model").mkdir()
    for path in model.iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model" / "model.onnx").write_bytes(b"graph")
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    new = tmp_path / "tuned"
    given = [f"--model={tmp_path / 'model'}", f"--output={new}", f"--tune={labels}", str(audio)]
    assert main(given) == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before
    assert event_f1(new, audio, labels) > event_f1(model, audio, labels) + 0.1
    for name in ("weights.safetensors", "model.onnx"):
        assert (new / name).read_bytes() == before[name]
    content = json.loads((new / "model.json").read_text("utf-8"))
    old = json.loads(before["model.json"])
    assert content["source"].endswith("post-processing tuned on 5 recordings")
    tuned = content["postprocessing"]["tuned"]
    assert tuned["selection"]["method"] == content["postprocessing"]["method"] != "median"
    assert tuned["selection"]["values"].keys() == {"unchanged", "tuned_median", "sebbs"}
    assert {k: v for k, v in content.items() if k not in ("postprocessing", "source")} == {
        k: v for k, v in old.items() if k not in ("postprocessing", "source")
    }
    shown = capsys.readouterr().out
    counts = pd.read_table(labels).event_label.value_counts()
    for name, number in counts.items():
        row = next(line for line in shown.splitlines() if line.startswith(str(name)))
        assert row.removeprefix(str(name)).split()[0] == str(number)
    probability = Detector.load(new)(audio / "0.wav").events.confidence
    assert probability.between(0, 1).all()
    with pytest.raises(InputError, match="--output: expected a new or empty folder"):
        main(given)


def test_only_labelled_sections_are_used(model: Path, audio: Path) -> None:
    events = (Event(0.2, 0.9, "Bell"), Event(1.5, 3.3, "Dog"))
    sections = ((1.024, 2.0), (3.2, 5.0))
    recording = Annotated(audio / "0.wav", Path("0.wav"), events, (), True, "0", sections=sections)
    detector = Detector.load(model)
    found = tuning.score_sections(detector, [recording])
    (whole,) = tuning.score_sections(detector, [recording._replace(sections=None)]).scores.values
    assert found.recordings == ["0", "0"]
    # Frames of 64 ms: 16 to 32, and 50 to 78, as many as the network has.
    np.testing.assert_array_equal(found.scores.values[0, :, :16], whole[:, 16:32])
    np.testing.assert_array_equal(found.scores.values[1, :, :28], whole[:, 50:78])
    assert list(found.truth.durations.values()) == pytest.approx([1.024, 1.792])
    ((first,), (second,)) = found.truth.events.values()
    assert (first.onset, first.offset) == pytest.approx((0.476, 1.024))
    assert (second.onset, second.offset) == pytest.approx((0.0, 0.1))


def test_what_cannot_be_tuned(model: Path, audio: Path, tmp_path: Path) -> None:
    given = [f"--model={model}", f"--output={tmp_path / 'new'}", str(audio)]
    table = tmp_path / "labels.tsv"

    def refused(text: str, *more: str) -> str:
        table.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            main([*given, f"--tune={table}", *more])
        assert not (tmp_path / "new").exists()
        return str(caught.value)

    head = "filename\tonset\toffset\tevent_label\n"
    assert "got Dgo (did you mean Dog?)" in refused(f"{head}0.wav\t0\t1\tDgo\n")
    assert "labels.tsv:2: no such recording below PATH: '9.wav'" in refused(
        f"{head}9.wav\t0\t1\tDog\n"
    )
    tags = refused("filename\tevent_labels\n0.wav\tDog\n")
    assert "expected events with onset and offset, got labels of whole recordings: 0.wav" in tags
    assert "expected at least 1 event, got 0" in refused(
        f"{head}0.wav\t0\t1\tnothing\n", "--ignore=nothing"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tune=l.tsv", "a.wav"], "--tune: expected --output"),
        (["--tune=l.tsv", "--output=o", "-"], "--tune: expected files and folders"),
        (["--tune=l.tsv", "--output=o", "--plot", "a.wav"], "--plot: expected no --tune"),
        (["--ignore=x", "a.wav"], "--ignore: expected only with --tune"),
    ],
)
def test_options_that_do_not_fit_each_other(
    more: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--model={model}", *more])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
