"""The configuration beside a data set of own classes: `train_sed.py --conf_file OUT/conf.yaml`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from desed_task.desed import CLIP_SETS, SYNTHETIC_VALIDATION, ClipSet
from local.config.data import KEYS
from local.config.yaml_files import RECIPE, SHIPPED, read_composed

CONFIGURATION = "conf.yaml"
SMALL = SHIPPED / "demo.yaml"
SMALL_NETWORK = f"""\
extends: {SMALL.name}              # a small network with frames of 128 ms, for few clips and a CPU

training:
  n_epochs: {{epochs}}
  n_epochs_warmup: {{warmup}}
  n_epochs_rampdown: {{rampdown}}
  ema_factor: {{ema_factor}}
"""
_STEPS = 2400
_BATCHES = {"synthetic": 4, "weak": 4, "unlabelled": 8}  # as demo.yaml's batch_size
_WEAK_SPLIT = 0.9
MIN_CLIPS_OF_RECIPE = 5000
"""From this number of clips with strong labels on, the configuration is that of the recipe."""


def configuration(
    out: Path,
    classes: Sequence[str],
    sizes: Mapping[str, int],
    *,
    program: str,
    clip_seconds: float | None = None,
) -> str:
    """The text of the configuration of a data set.

    Args:
        out: its folder, absolute.
        classes: names.
        sizes: clips by name of the set; sets without clips are absent.
        program: that writes it.
        clip_seconds: length of its clips; None: as in the extended configuration.
    """
    large = sizes.get("synthetic", 0) >= MIN_CLIPS_OF_RECIPE
    extended = RECIPE if large else SMALL
    given = read_composed(extended).values["data"]
    data = {"root": str(out), "audio_max_len": clip_seconds or given["audio_max_len"]}
    for clip_set in CLIP_SETS:
        data |= _set_keys(clip_set, present=sizes.get(clip_set.name, 0) > 0)
    data = {key: value for key, value in data.items() if value != given[key]}
    section = yaml.safe_dump({"data": data}, allow_unicode=True, sort_keys=False, width=4096)
    names = json.dumps(list(classes), ensure_ascii=False)  # quoted: a class may be called 1e5
    section = section.replace("data:\n", f"data:\n  classes: {names}\n", 1)
    untuned = "  methods: [median]\n  choose_method: false\n  calibrate_confidence: false\n"
    if sizes.get(SYNTHETIC_VALIDATION):
        untuned = ""
    network, window = (f"extends: {RECIPE.name}\n", 7) if large else (_small(sizes), 3)
    return (
        f"# Written by python -m {program}\n"
        f"{network}\n{section}\n"
        "cross_task:\n  excluded_classes: []\n\n"
        f"postprocess:\n{untuned}"
        f"  median_window: !replace {{default: {window}}}   # frames; exceptions by class name\n"
    )


def _small(sizes: Mapping[str, int]) -> str:
    """The small network, for about `_STEPS` steps; an epoch is as long as its shortest set."""
    used = dict(sizes) | {"weak": int(_WEAK_SPLIT * sizes.get("weak", 0))}
    present = {name: batch for name, batch in _BATCHES.items() if used.get(name)}
    steps = max(1, min(used[name] // batch for name, batch in present.items()))
    epochs = max(1, min(200, round(_STEPS / steps)))
    ema_factor = 0.99 if epochs * steps > _STEPS / 2 else 0.97
    return SMALL_NETWORK.format(
        epochs=epochs, warmup=max(1, epochs // 4), rampdown=epochs // 2, ema_factor=ema_factor
    )


def _set_keys(clip_set: ClipSet, *, present: bool) -> dict[str, str | None]:
    """The keys of a set in DESED's layout; all `null` where it is not present."""
    keys = KEYS[clip_set.name]
    paths = (f"{clip_set.prepared}/", f"{clip_set.audio}/", clip_set.table, clip_set.durations)
    pairs = zip(keys, paths, strict=True)
    return {key: path if present else None for key, path in pairs if key is not None}
