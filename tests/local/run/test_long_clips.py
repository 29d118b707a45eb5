"""A test of clips that are longer than the network's input, from files to metrics."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from desed_task.detect import Detector
from desed_task.windows import window_starts, window_weights
from local.config.load import Config, override_config
from local.data import DesedDataModule
from local.export import main as export
from local.run.experiment import test as run_test
from local.sed_trainer import CrossTaskSED
from tests.support.classes import CLASSES
from tests.support.tiny import tiny_config
from tests.support.training import CPU
from train_sed import main

pytestmark = pytest.mark.usefixtures("one_pixel_pictures")
RATE = 16000
SECONDS = {"short": 4.0, "whole": 10.0, "long": 25.0, "again": 10.0, "longer": 31.7}
COLUMNS = ["filename", "onset", "offset", "event_label"]


class Clips(NamedTuple):
    """Audio of a test set's clips by name, and the experiment that tests on them."""

    audio: dict[str, NDArray[np.float32]]
    folder: Path
    config: Config
    checkpoint: Path


def write_events(path: Path, events: pd.DataFrame) -> None:
    """Write the annotations; clips without an event get an empty row."""
    silent = [f"{name}.wav" for name in SECONDS if f"{name}.wav" not in set(events.filename)]
    rows = pd.concat([events, pd.DataFrame({"filename": silent})])
    rows.to_csv(path, sep="\t", index=False)


@pytest.fixture(scope="module")
def clips(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Noise whose loudness changes, in clips of 4 to 31.7 s, and an untrained network."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    audio = {}
    (folder / "audio").mkdir()
    for name, seconds in SECONDS.items():
        loudness = np.repeat(rng.uniform(0, 0.6, round(10 * seconds)), RATE // 10)
        samples = loudness * rng.uniform(-1, 1, len(loudness))
        soundfile.write(folder / "audio" / f"{name}.wav", samples, RATE, subtype="PCM_16")
        audio[name] = soundfile.read(folder / "audio" / f"{name}.wav", dtype="float32")[0]
    write_events(folder / "events.tsv", pd.DataFrame(columns=COLUMNS))
    config = tiny_config(
        tiny_data,
        f"data.test_folder={folder / 'audio'}",
        "data.test_folder_44k=null",
        f"data.test_tsv={folder / 'events.tsv'}",
        f"data.test_dur={folder / 'durations.tsv'}",
        *(f"data.{key}=null" for key in ("eval_folder", "eval_folder_44k", "eval_tsv", "eval_dur")),
        "training.batch_size_val=3",
        "postprocess.bootstrap_replicates=0",
        "postprocess.trim_to_clip=true",
        *(f"postprocess.median_window.{name}=3" for name in CLASSES),
    )
    torch.manual_seed(0)
    module = CrossTaskSED(config)
    for network in module.networks.values():  # scores on both sides of 0.5
        with torch.no_grad():
            network.get_parameter("strong_head.weight").mul_(8)
    content = {"state_dict": module.state_dict(), "hyper_parameters": config.plain()}
    torch.save(content, folder / "network.ckpt")
    return Clips(audio, folder, config, folder / "network.ckpt")


def raw_scores(run: Path, network: str) -> dict[str, NDArray[np.float32]]:
    """Scores that a test wrote, `(classes, frames)` by clip."""
    paths = (run / "metrics_test" / network / "scores" / "raw").glob("*.tsv")
    tables = {path.stem: pd.read_csv(path, sep="\t") for path in paths}
    return {name: table[list(CLASSES)].to_numpy(np.float32).T for name, table in tables.items()}


@pytest.fixture(scope="module")
def run(clips: Clips) -> Path:
    """Folder of a test, all clips without events."""
    folder = clips.folder / "run"
    folder.mkdir()
    run_test(clips.config, CPU, folder, clips.checkpoint, check=False, fast=False)
    return folder


def forward(clips: Clips, network: str, windows: list[NDArray[np.float32]]) -> torch.Tensor:
    """Frame probabilities of windows in one batch, `(windows, classes, frames)`."""
    module = CrossTaskSED(clips.config)
    module.load_state_dict(torch.load(clips.checkpoint, weights_only=True)["state_dict"])
    module.eval()
    batch = np.zeros((len(windows), module.config.grid.n_samples), dtype=np.float32)
    for row, window in zip(batch, windows, strict=True):
        row[: len(window)] = window
    with torch.no_grad():
        return module.networks[network](module.features(torch.from_numpy(batch))).strong


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_scores_are_weighted_means_of_all_windows(clips: Clips, run: Path, network: str) -> None:
    grid = clips.config.grid
    scores = raw_scores(run, network)
    assert scores.keys() == clips.audio.keys()
    for name, audio in clips.audio.items():
        starts = window_starts(len(audio), grid)
        assert (len(starts) == 1) == (name in ("short", "whole", "again"))
        begins = [start * grid.samples_per_frame for start in starts]
        outputs = forward(
            clips, network, [audio[begin : begin + grid.n_samples] for begin in begins]
        ).numpy()
        n_frames = grid.n_frames if len(starts) == 1 else 1 + len(audio) // 1024
        weights = window_weights(grid.n_frames)
        total, expected = np.zeros(n_frames), np.zeros((len(CLASSES), n_frames))
        for start, output in zip(starts, outputs, strict=True):
            for frame in range(min(grid.n_frames, n_frames - start)):
                total[start + frame] += weights[frame]
                expected[:, start + frame] += weights[frame] * output[:, frame]
        assert scores[name].shape == expected.shape
        np.testing.assert_allclose(scores[name], expected / total, rtol=0, atol=2e-6)


def test_a_clip_of_one_window_keeps_its_scores_to_the_bit(clips: Clips, run: Path) -> None:
    """The first batch: two clips of one window, and the first window of a long one."""
    n_samples = clips.config.grid.n_samples
    batch = [clips.audio["short"], clips.audio["whole"], clips.audio["long"][:n_samples]]
    for network in ("student", "teacher"):
        expected = forward(clips, network, batch).numpy()
        scores = raw_scores(run, network)
        np.testing.assert_array_equal(scores["short"], expected[0])
        np.testing.assert_array_equal(scores["whole"], expected[1])


def test_events_after_the_first_window_are_scored(
    clips: Clips, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The student's own events as ground truth: it finds all of them, to the ends of the clips."""
    found = pd.read_csv(run / "metrics_test" / "student" / "events_0.5.tsv", sep="\t")
    assert (found[found.filename == "long.wav"].onset > 20).any()
    assert (found[found.filename == "longer.wav"].offset > 30).any()
    write_events(tmp_path / "found.tsv", found)
    methods = "postprocess.methods=[median,sebbs]"
    truth = f"data.test_tsv={tmp_path / 'found.tsv'}"
    config = override_config(clips.config, [methods, truth, "postprocess.report=true"])
    run_test(config, CPU, tmp_path, clips.checkpoint, check=False, fast=False)
    metrics = json.loads((tmp_path / "metrics_test" / "metrics.json").read_text())
    assert metrics["test/student/event_f1_micro"] == 1
    assert metrics["test/student/segment_f1_micro"] == pytest.approx(1)
    assert metrics["test/student/psds1_sed_scores_eval"] > 0
    assert (tmp_path / "metrics_test" / "student_sebbs" / "boxes.tsv").is_file()
    assert (tmp_path / "metrics_test" / "report.html").is_file()
    said = capsys.readouterr().out
    assert "2 clips are longer than data.audio_max_len (10 s): 2 test" in said


def test_detection_finds_the_events_of_the_test(clips: Clips, run: Path, tmp_path: Path) -> None:
    """Of the same files by the exported model, and of the streams with a window of latency."""
    export([f"--checkpoint={clips.checkpoint}", f"--output={tmp_path / 'model'}"])
    detector = Detector.load(tmp_path / "model")
    tested = pd.read_csv(run / "metrics_test" / "student" / "events_0.5.tsv", sep="\t")
    n_events = 0
    for name, audio in clips.audio.items():
        rows = tested[tested.filename == f"{name}.wav"]
        expected = sorted(zip(rows.event_label, rows.onset, rows.offset, strict=True))
        n_events += len(expected)
        path = clips.folder / "audio" / f"{name}.wav"
        stream = detector.stream(RATE, latency=10.5)
        for found in (detector(path).detections, [*stream(audio), *stream.finish()]):
            times = sorted((each.event_label, each.onset, each.offset) for each in found)
            assert times == expected, name
    assert n_events > 20


def test_windows_of_a_test_may_have_another_length(clips: Clips, tmp_path: Path) -> None:
    """One window for every clip but the last; test_checkpoints has the ways to set it."""
    given = ["--test_from_checkpoint", str(clips.checkpoint), "--gpus", "0"]
    assert main([*given, f"--log_dir={tmp_path}", "--set=data.audio_max_len=30"]) == 0
    longer = clips._replace(config=override_config(clips.config, ["data.audio_max_len=30"]))
    (expected,) = forward(longer, "student", [clips.audio["long"]]).numpy()
    scores = raw_scores(tmp_path / "version_0", "student")["long"]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6)


def test_training_says_how_many_clips_it_crops(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tiny_data, "data.audio_max_len=5")
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    folders = {
        "synthetic": config.data.sets["synthetic"].folder,
        "unlabelled": config.data.sets["unlabelled"].folder,
    }
    longer = {
        name: sum(soundfile.info(path).duration > 5 for path in Path(folder).glob("*.wav"))
        for name, folder in folders.items()
    }
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if line.endswith("training crops them at random")]
    for name, count in longer.items():
        assert count > 0
        assert f" {count} {name}" in line
    for batch in data.val_dataloader()[1]:
        assert batch.audio.shape[1] == 5 * RATE
    windows = [
        (name, frame)
        for batch in data.val_dataloader()[1]
        for name, frame in zip(batch.names, batch.first_frames, strict=True)
    ]
    assert len(set(windows)) == len(windows) > len(data.validation_truth.events)
