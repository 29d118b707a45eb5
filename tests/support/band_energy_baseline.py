"""A detector without learning of structure: thresholds on the energies of a few mel bands.

It shows that the generated classes are not given away by where their energy lies. Per class the
bands that separate best on the synthetic clips are weighted into a score; a median filter
per class follows, as in the recipe.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.ndimage
import scipy.signal
import scipy.stats
import soundfile
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torchaudio.functional import melscale_fbanks

from desed_task.synthesis.timbres import CLASSES

RATE = 16000
FRAME = 1024
FRAMES = 156
BANDS = 64
MEDIAN_WINDOWS = (3, 28, 7, 4, 7, 22, 48, 19, 10, 50)
BANDS_KEPT = (4, 8, 16, 32)
"""How many features a class may use; the best number on the synthetic clips is taken."""
MEL_FILTERS = melscale_fbanks(FRAME // 2 + 1, 0.0, RATE / 2, BANDS, RATE).double().numpy()

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledSet:
    """Clips with features (clips, frames, features), labels (clips, frames, classes) and truth."""

    names: list[str]
    features: Array
    active: NDArray[np.bool_]
    truth: dict[str, list[tuple[float, float, str]]]
    durations: dict[str, float]


def band_energies(path: Path) -> tuple[Array, float]:
    """Return features (frames, 2 * bands) in dB and the clip's duration in seconds.

    One half is relative to the median over the whole clip, the other to each band's median.
    """
    audio, rate = soundfile.read(path, always_2d=True)
    mono = scipy.signal.resample_poly(audio.mean(1), 160, 441)[: FRAMES * FRAME]
    frames = len(mono) // FRAME
    windowed = mono[: frames * FRAME].reshape(frames, FRAME) * np.hanning(FRAME)
    energy = np.abs(np.fft.rfft(windowed)) ** 2 @ MEL_FILTERS
    level = 10 * np.log10(energy + 1e-10)
    both = np.concatenate([level - np.median(level), level - np.median(level, axis=0)], axis=1)
    padded = np.full((FRAMES, 2 * BANDS), both.min())
    padded[:frames] = both
    return padded, len(audio) / rate


def read_set(audio: Path, table: Path) -> LabelledSet:
    """Read a strongly labelled set."""
    rows = pd.read_csv(table, sep="\t")
    names = sorted(rows.filename.unique())
    measured = {name: band_energies(audio / name) for name in names}
    active = np.zeros((len(names), FRAMES, len(CLASSES)), dtype=bool)
    truth: dict[str, list[tuple[float, float, str]]] = {name: [] for name in names}
    for row in rows.dropna().itertuples(index=False):
        start, stop = int(row.onset * RATE / FRAME), int(np.ceil(row.offset * RATE / FRAME))
        active[names.index(row.filename), start:stop, CLASSES.index(row.event_label)] = True
        truth[row.filename].append((row.onset, row.offset, row.event_label))
    features = np.stack([measured[name][0] for name in names])
    return LabelledSet(names, features, active, truth, {n: measured[n][1] for n in names})


def fit_class(features: Array, active: NDArray[np.bool_]) -> Array:
    """Return weights (features + 1,), the offset last, of one class's score from frames."""
    centre, spread = features.mean(0), features.std(0)
    scaled = (features - centre) / spread
    difference = scaled[active].mean(0) - scaled[~active].mean(0)
    best = (-1.0, np.zeros(features.shape[1] + 1))
    for kept in BANDS_KEPT:
        weights = np.zeros_like(difference)
        chosen = np.argsort(-np.abs(difference))[:kept]
        weights[chosen] = difference[chosen]
        scores = scaled @ weights
        area = float(roc_auc_score(active, scores))
        if area > best[0]:
            slope = weights / spread / scores.std()
            best = (area, np.append(slope, -centre @ slope))
    return best[1]


def fit(train: LabelledSet) -> Array:
    """Return weights (features + 1, classes) from a labelled set."""
    features = train.features.reshape(-1, 2 * BANDS)
    active = train.active.reshape(-1, len(CLASSES))
    return np.stack([fit_class(features, active[:, k]) for k in range(len(CLASSES))], axis=1)


def psds1(weights: Array, test: LabelledSet) -> float:
    """Return the exact PSDS1 of the thresholded, median filtered scores."""
    from sed_scores_eval import intersection_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    times = np.arange(FRAMES + 1) * FRAME / RATE
    tables = {}
    for name, features in zip(test.names, test.features, strict=True):
        scores = 1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1])))
        smooth = [
            scipy.ndimage.median_filter(scores[:, k], window)
            for k, window in enumerate(MEDIAN_WINDOWS)
        ]
        tables[name] = create_score_dataframe(np.stack(smooth, 1), times, list(CLASSES))
    result = intersection_based.psds(
        scores=tables,
        ground_truth=test.truth,
        audio_durations=test.durations,
        dtc_threshold=0.7,
        gtc_threshold=0.7,
        cttc_threshold=None,
        alpha_ct=0.0,
        alpha_st=1.0,
        max_efpr=100.0,
    )
    return float(result[0])
