"""The generated data set must ask for more than thresholds on band energies."""

from pathlib import Path

import numpy as np
import soundfile

from desed_task.making.generate import generate_dataset
from desed_task.synthesis.timbres import CLASSES
from tests.support.band_energy_baseline import (
    BANDS,
    FRAME,
    FRAMES,
    RATE,
    LabelledSet,
    band_energies,
    fit,
    psds1,
    read_set,
)
from tests.support.required import require_package


def test_a_tone_shows_in_its_band(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "tone.wav", tone, 44100)
    features, duration = band_energies(tmp_path / "tone.wav")
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), BANDS + 2) / 2595) - 1)
    band = int(np.argmax(features[5, :BANDS]))
    assert edges[band] < 1000.0 < edges[band + 2]
    assert duration == 1.0
    assert FRAME / RATE == 0.064


def test_perfect_scores_reach_a_high_psds1() -> None:
    require_package("sed_scores_eval")
    """The ceiling of the measure: features that are the labels themselves."""
    rng = np.random.default_rng(0)
    active = np.zeros((20, FRAMES, len(CLASSES)), dtype=bool)
    truth: dict[str, list[tuple[float, float, str]]] = {}
    for clip in range(len(active)):
        truth[f"{clip}.wav"] = []
        for k in rng.choice(len(CLASSES), 5, replace=False):
            start, stop = int(rng.integers(0, 60)), int(rng.integers(120, 157))
            active[clip, start:stop, k] = True
            times = (start * FRAME / RATE, stop * FRAME / RATE)
            truth[f"{clip}.wav"].append((*times, CLASSES[k]))
    labels = active.astype(np.float64)
    perfect = LabelledSet(list(truth), labels, active, truth, dict.fromkeys(truth, 10.0))
    weights = np.vstack([np.eye(len(CLASSES)), np.zeros(len(CLASSES))])
    assert psds1(weights, perfect) > 0.95
    assert psds1(-weights, perfect) < 0.05


def test_band_energies_do_not_separate_the_classes(tmp_path: Path) -> None:
    require_package("sed_scores_eval")
    sizes = {"synthetic": 48, "test": 36}
    generate_dataset(tmp_path / "data", 5, sizes, workers=2)
    train = read_set(
        tmp_path / "data/audio/train/synthetic21_train/soundscapes",
        tmp_path / "data/metadata/train/synthetic21_train/soundscapes.tsv",
    )
    test = read_set(
        tmp_path / "data/audio/validation/validation",
        tmp_path / "data/metadata/validation/validation.tsv",
    )
    assert psds1(fit(train), test) < 0.15
