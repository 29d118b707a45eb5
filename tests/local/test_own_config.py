"""The configuration beside a data set of own classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from local.config.load import Config, load_config
from local.own_config import configuration

CLASSES = ("1e5", "Dog bark", "Ähre")
SETS = {"synthetic": 9, "synthetic validation": 3, "test": 3}


def written(
    folder: Path,
    sizes: Mapping[str, int],
    lengths: Mapping[str, Sequence[float]],
    clip_seconds: float | None = None,
    former: Path | None = None,
) -> tuple[Config, str]:
    """The configuration as training reads it, and what is printed."""
    made = configuration(
        folder, CLASSES, sizes, lengths, program="tests", clip_seconds=clip_seconds, former=former
    )
    (folder / "conf.yaml").write_text(made.text, encoding="utf-8")
    return load_config(folder / "conf.yaml"), "\n".join(made.notes)


# Lengths of events in seconds, the expected frames in ms: four in the shortest median event.
@pytest.mark.parametrize(
    ("lengths", "milliseconds"),
    [
        ({"Dog bark": [0.257, 0.257]}, 64),
        ({"Dog bark": [0.4, 0.1, 3.0], "Ähre": [9.0]}, 64),
        ({"Dog bark": [5.0], "Ähre": [0.21, 0.1, 0.9]}, 32),
        ({"1e5": [], "Dog bark": [0.129], "Ähre": [7.0]}, 32),
        ({"1e5": [], "Dog bark": [0.127], "Ähre": [7.0]}, 16),
        ({"Dog bark": [0.03], "Ähre": [7.0]}, 16),
        ({"Dog bark": [], "Ähre": []}, 128),
    ],
)
def test_frames_are_as_fine_as_the_shortest_class_needs(
    lengths: Mapping[str, Sequence[float]], milliseconds: int, tmp_path: Path
) -> None:
    config, printed = written(tmp_path, SETS, lengths, clip_seconds=4)
    assert config.grid.frame_seconds == milliseconds / 1000
    assert f"frames of {milliseconds} ms" in printed
    assert ("warning" in printed) == (lengths.get("Dog bark") == [0.03])
    window = config.feats.n_window / config.data.fs
    assert window <= 4 * config.grid.frame_seconds
    assert config.feats.n_mels == 64


def test_the_frames_of_an_extended_set_stay_so_that_its_weights_fit(tmp_path: Path) -> None:
    before, _ = written(tmp_path, SETS, {"Dog bark": [0.21]})
    former = tmp_path / "conf.yaml"
    now, printed = written(tmp_path, SETS, {"Dog bark": [0.09]}, former=former)
    assert (now.feats, now.net) == (before.feats, before.net)
    assert "frames of 32 ms: as before" in printed
    assert "less than 3 frames" in printed
    # Another network does not take its frames, and neither does a set whose file was deleted.
    large, _ = written(tmp_path, SETS | {"synthetic": 5000}, {"Dog bark": [2.0]}, former=former)
    assert large.grid.frame_seconds == 0.064
    new, _ = written(tmp_path, SETS, {"Dog bark": [0.09]}, former=tmp_path / "none.yaml")
    assert new.grid.frame_seconds == 0.016


def test_many_clips_have_the_network_and_the_epochs_of_the_recipe(
    tmp_path: Path, recipe: Config
) -> None:
    config, _ = written(tmp_path, SETS | {"synthetic": 5000}, {"Dog bark": [2.0]})
    assert config.net == recipe.net
    assert config.feats == recipe.feats
    steps = {**recipe.training.plain(), "train_sets": ["synthetic"]}
    steps |= {"steps_per_epoch": 236, "baseline": True}
    assert config.training.plain() == steps
    fine, _ = written(tmp_path, SETS | {"synthetic": 5000}, {"Dog bark": [0.1]})
    assert fine.grid.frame_seconds == 0.016
    assert fine.net.nb_filters == recipe.net.nb_filters


@pytest.mark.parametrize(
    "training", [{"synthetic": 2}, {"weak": 9, "unlabelled": 1}, {"synthetic": 1, "weak": 9}]
)
def test_sets_without_clips_are_absent(training: Mapping[str, int], tmp_path: Path) -> None:
    sizes = {"synthetic": 0, "weak": 0, "unlabelled": 0, "eval": 0}
    sizes |= {"synthetic validation": 4, "test": 4, **training}
    config, _ = written(tmp_path, sizes, {})
    assert config.data.classes == CLASSES
    assert config.postprocess.methods == ("median", "tuned_median", "sebbs")
    assert config.training.train_sets == tuple(training)
    ramp = config.training.n_epochs if "unlabelled" in training else None
    assert config.training.n_epochs_consistency == ramp
    assert set(config.data.sets) == {name for name, size in sizes.items() if size}
    assert {name for name, size in config.clips_per_set.items() if size} == set(training)
    # The number of steps is that of any other small data set.
    assert config.training.steps_per_epoch
    other, _ = written(tmp_path, {"synthetic": 9, "test": 3}, {})
    assert other.postprocess.methods == ("median",)
    assert other.training.n_epochs == config.training.n_epochs
    assert other.training.steps_per_epoch == config.training.steps_per_epoch


def test_steps_grow_with_the_labelled_clips(tmp_path: Path) -> None:
    training = [
        written(tmp_path, {**SETS, "synthetic": strong, "weak": weak}, {})[0].training
        for strong, weak in ((8, 0), (80, 0), (100, 60), (480, 0), (400, 400))
    ]
    few, *more = (each.steps_per_epoch for each in training)
    assert few is not None
    assert more == [few, 2 * few, 6 * few, 6 * few]


def test_windows_of_own_classes_are_in_seconds(tmp_path: Path) -> None:
    config, _ = written(tmp_path, SETS, {"Dog bark": [0.2]})
    assert config.postprocess.window_unit == "seconds"
    assert config.postprocess.median_window == {"default": 0.3}
    assert config.median_windows == [9, 9, 9]
