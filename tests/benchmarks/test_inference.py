"""Inference: the scores are those of the test, the factor is seconds per second."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import inference
from benchmarks.inference import Inference, figure
from benchmarks.measure import Timing
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.postprocess.median import median_filter
from local.results.predictions import SetPredictions
from local.sed_trainer import CrossTaskSED
from tests.benchmarks.small import narrow


def test_real_time_factor() -> None:
    found = figure(Timing((5.0, 1.0, 3.0)), clips=4, clip_seconds=10.0)
    assert found["real_time_factor"] == pytest.approx(3 / 40)
    assert found["times_real_time"] == pytest.approx(40 / 3)


def test_scores_are_those_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    config = narrow(monkeypatch, inference)
    infer = Inference(torch.device("cpu"), "32")
    audio = infer.audio(3)
    torch.manual_seed(0)  # the same fresh weights
    module = CrossTaskSED(config).eval()
    batch = Batch(
        audio=audio,
        targets=torch.zeros(3, 10, config.grid.n_frames),
        kind=torch.full((3,), int(ClipKind.SYNTHETIC)),
        names=("a", "b", "c"),
        seconds=torch.ones(3, dtype=torch.float64),
    )
    predicted = SetPredictions(config, module.counted)
    with torch.no_grad():
        predicted.add(batch, module.networks["student"](module.features(audio)))
    expected = median_filter(predicted.corrected_scores(), config.postprocess.windows)
    np.testing.assert_allclose(infer(audio), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("device", "precisions"),
    [
        ("cpu", ["32", "bf16"]),
        pytest.param(
            "cuda",
            ["32", "bf16", "16"],
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_inference_prints_what_it_measured(
    device: str,
    precisions: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, inference)
    written = tmp_path / "figures.json"
    asked = ["--batch_sizes", "1", "3", "--rounds", "2", "--precision", *precisions]
    assert inference.main([*asked, "--device", device, "--json", str(written)]) == 0
    figures = json.loads(written.read_text())["figures"]
    assert [found["clips"] for found in figures] == [1, 3] * len(precisions)
    shown = capsys.readouterr().out
    for found in figures:
        assert len(found["seconds"]) == 2
        assert f"{found['real_time_factor']:.6f}" in shown
