"""The configuration beside a data set of own classes: `train_sed.py --conf_file OUT/conf.yaml`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from desed_task.desed import CLIP_SETS, SYNTHETIC_VALIDATION, TRAINING_SETS, ClipSet
from local.config.data import KEYS
from local.config.yaml_files import SHIPPED, read_composed
from local.own_frames import choose_frames

CONFIGURATION = "conf.yaml"
SMALL, LARGE = "own.yaml", "own_large.yaml"
MIN_CLIPS_OF_RECIPE = 5000
"""From this number of clips with strong labels on, network and schedule are the recipe's."""
CLIPS_OF_OWN, MAX_CLIPS_OF_OWN = 80, 480
"""Between these numbers of labelled clips, the steps of an epoch are in proportion to the clips;
below, they are those of own.yaml."""
TEXT = """\
# Written by python -m {program}; docs/configuration.md describes every key.
extends: {extended}

training:
  train_sets: [{train_sets}]
  n_epochs: {n_epochs:<13} # n_epochs x steps_per_epoch steps in all
  steps_per_epoch: {steps_per_epoch:<6} # whatever the sizes of the sets
  n_epochs_warmup: {n_epochs_warmup:<6} # first epochs: learning rate rises
  n_epochs_rampdown: {n_epochs_rampdown:<4} # last epochs: the learning rate falls to 0
{consistency}
{data}
feats:                    # {reason}
  hop_length: {hop_length}
  n_window: {n_window}

net:
  pooling: {pooling}
"""
CONSISTENCY = """\
  n_epochs_consistency: {n_epochs} # first epochs: the consistency weight rises
"""
UNTUNED = """
postprocess:
  methods: [median]       # nothing can be tuned without a validation set
  choose_method: false
  calibrate_confidence: false
"""


class OwnConfiguration(NamedTuple):
    """The text of a configuration, and lines to print on its choices."""

    text: str
    notes: Sequence[str]


def configuration(
    out: Path,
    classes: Sequence[str],
    sizes: Mapping[str, int],
    lengths: Mapping[str, Sequence[float]],
    *,
    program: str,
    clip_seconds: float | None = None,
    former: Path | None = None,
) -> OwnConfiguration:
    """The configuration of a data set.

    Args:
        out: its folder, absolute.
        classes: names.
        sizes: clips by name of the set; sets without clips are absent.
        lengths: of the events to train on in seconds, by class.
        program: that writes it.
        clip_seconds: length of its clips; None: as in the extended configuration.
        former: the configuration of the data set that it replaces, if the file exists.
    """
    large = sizes.get("synthetic", 0) >= MIN_CLIPS_OF_RECIPE
    extended = LARGE if large else SMALL
    base = read_composed(SHIPPED / extended)
    given, before = base.values, None
    if former is not None and former.is_file():
        before = base.with_changes(read_composed(former)).values
    present = [name for name, number in sizes.items() if number]
    data = {"root": str(out), "audio_max_len": clip_seconds or given["data"]["audio_max_len"]}
    for clip_set in CLIP_SETS:
        data |= _set_keys(clip_set, present=clip_set.name in present)
    data = {key: value for key, value in data.items() if value != given["data"][key]}
    section = yaml.safe_dump({"data": data}, allow_unicode=True, sort_keys=False, width=4096)
    names = json.dumps(list(classes), ensure_ascii=False)  # quoted: a class may be called 1e5
    frames = choose_frames(lengths, given, before)
    train_sets = ", ".join(name for name in TRAINING_SETS if name in present)
    values = {**given["training"], "train_sets": train_sets, **frames._asdict()}
    if not large:
        labelled = sizes.get("synthetic", 0) + sizes.get("weak", 0)
        clips = min(max(labelled, CLIPS_OF_OWN), MAX_CLIPS_OF_OWN)
        values["steps_per_epoch"] = round(values["steps_per_epoch"] * clips / CLIPS_OF_OWN)
    pseudo_labels = not large and "unlabelled" in present
    text = TEXT.format(
        program=program,
        extended=extended,
        data=section.replace("data:\n", f"data:\n  classes: {names}\n", 1),
        consistency=CONSISTENCY.format(**values) if pseudo_labels else "",
        **values,
    )
    if SYNTHETIC_VALIDATION not in present:
        text += UNTUNED
    return OwnConfiguration(text, [frames.reason, *frames.warnings])


def _set_keys(clip_set: ClipSet, *, present: bool) -> dict[str, str | None]:
    """The keys of a set in DESED's layout; all `null` where it is not present."""
    keys = KEYS[clip_set.name]
    paths = (f"{clip_set.prepared}/", f"{clip_set.audio}/", clip_set.table, clip_set.durations)
    pairs = zip(keys, paths, strict=True)
    return {key: path if present else None for key, path in pairs if key is not None}
