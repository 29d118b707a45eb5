#!/usr/bin/env bash
# transformers 5.24.0: ClapFeatureExtractor marks a random clip of each batch as longer than 10 s, although none is.
#
# With `truncation="fusion"`, the default, a model with fusion reads four spectrograms of a clip that is longer than 10 s. Where no
# clip of a batch is, the extractor draws one with NumPy's global random numbers and sets its `is_longer`. The model then fuses the
# four equal spectrograms of this clip: the same audio gets other embeddings from call to call, and a clip alone is always "longer".
# With `is_longer` set to False by hand, as this project does, nothing is random.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 huggingface_hub==2.4.0 torch==2.11.0 numpy==2.3.5

cat > "$folder/check.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from transformers import ClapFeatureExtractor

SECONDS, RATE, CLIPS = 2, 48000, 4
clips = list(0.1 * np.random.default_rng(0).normal(size=(CLIPS, SECONDS * RATE)))
extractor = ClapFeatureExtractor()


def marked(seed: int, audio: list) -> list[bool]:
    np.random.seed(seed)
    features = extractor(audio, sampling_rate=RATE, return_tensors="np")
    return np.array(features["is_longer"]).ravel().astype(bool).tolist()


print(*(f"{name} {version(name)}" for name in ("transformers", "numpy")), sep=", ")
found = {seed: marked(seed, clips) for seed in range(6)}
for seed, longer in found.items():
    print(f"{CLIPS} clips of {SECONDS} s, seed {seed} -> is_longer {longer}")
alone = [marked(0, [clip]) for clip in clips]
print(f"each clip alone -> is_longer {alone}")
one_each = all(sum(longer) == 1 for longer in found.values())
differ = len({tuple(longer) for longer in found.values()}) > 1
sys.exit(not (one_each and differ and alone == [[True]] * CLIPS))
PYTHON
"$folder/venv/bin/python" "$folder/check.py"
