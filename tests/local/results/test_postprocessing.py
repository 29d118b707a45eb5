"""Configured post-processing methods, and tuned parameters in a checkpoint."""

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores
from desed_task.labels import Event
from desed_task.postprocess.methods import MedianParameters, Selection, TunedParameters
from local.config.load import Config, load_config, override_config
from local.results.postprocessing import (
    CHECKPOINT_KEY,
    default_method,
    dump_tuned,
    is_tuned,
    load_tuned,
    postprocessing,
    tune,
)
from tests.support.classes import CLASSES
from tests.support.paths import CONFS


@pytest.fixture
def config() -> Config:
    keys = ("methods=[median, tuned_median]", "tuning_windows=[1, 9]", "tuning_metric=event_f1")
    return override_config(
        load_config(CONFS / "sed.yaml"), [f"postprocess.{value}" for value in keys]
    )


def _tuned_median() -> MedianParameters:
    return MedianParameters(window=dict.fromkeys(CLASSES, 5), f1_threshold=0.5)


def test_median_parameters_are_those_of_the_configuration(config: Config) -> None:
    parameters = postprocessing(config).median
    assert parameters.window == config.postprocess.median_window
    assert parameters.f1_threshold == config.postprocess.f1_threshold


def test_windows_in_seconds_are_rounded_to_frames(config: Config) -> None:
    """Frames of 64 ms, and of 20 ms."""
    windows = "!replace {default: 0.3, Cat: 0.01}"
    keys = ("window_unit=seconds", f"median_window={windows}", "tuning_windows=[0.01, 0.02, 1]")
    own = override_config(config, [f"postprocess.{value}" for value in keys])
    window = postprocessing(own).median.window
    assert (window["Cat"], window["Dog"]) == (1, 5)
    assert postprocessing(own, frame_seconds=0.02).median.window["Dog"] == 15
    again = override_config(config, ["postprocess.median_window.Cat=7"])
    assert "Cat: 7," in again.to_yaml()  # a whole number stays one


@pytest.mark.parametrize("key", ["median_window.Cat=2.5", "tuning_windows=[1, 2.5]"])
def test_windows_in_frames_are_whole_numbers(key: str, config: Config) -> None:
    wrong = rf"postprocess\.{key.split('=')[0].split('.')[0]}.*: expected whole numbers.*2\.5"
    with pytest.raises(InputError, match=wrong):
        override_config(config, [f"postprocess.{key}"])


def test_configured_methods_are_tuned(config: Config) -> None:
    """A dog whose scores have gaps of two frames: only the long window makes one event of it."""
    values = np.zeros((1, 10, config.grid.n_frames), dtype=np.float32)
    dog, speech = CLASSES.index("Dog"), CLASSES.index("Speech")
    values[0, dog, 20:80] = 0.6
    values[0, dog, 28:30] = values[0, dog, 40:42] = values[0, dog, 60:62] = 0.0
    values[0, speech, 100:103] = 0.6  # as short as an event can be: the long window removes it
    frame = config.grid.clip_seconds / config.grid.n_frames
    events = [
        Event(20 * frame, 80 * frame, "Dog"),
        Event(100 * frame, 103 * frame, "Speech"),
    ]
    truth = GroundTruth(CLASSES, {"a.wav": events}, {"a.wav": 10.0})
    tuned = tune(Scores(values, ["a.wav"], config.grid), truth, config, title="test")
    assert tuned.sebbs is None
    assert tuned.tuned_median is not None
    assert tuned.tuned_median.window["Dog"] == 9
    assert tuned.tuned_median.window["Speech"] == 1
    thresholds = tuned.tuned_median.f1_threshold
    assert isinstance(thresholds, dict)
    assert 0 < thresholds["Dog"] < 0.6
    assert 0 < thresholds["Cat"] < 0.6  # no event: the best for the others


def test_a_validation_set_without_events_is_refused(config: Config) -> None:
    truth = GroundTruth(CLASSES, {"a.wav": []}, {"a.wav": 10.0})
    values = np.zeros((1, 10, config.grid.n_frames), dtype=np.float32)
    with pytest.raises(InputError, match="a validation set with events, got none"):
        tune(Scores(values, ["a.wav"], config.grid), truth, config, title="test")


def test_every_network_needs_parameters_of_every_tuned_method(config: Config) -> None:
    tuned = {"student": TunedParameters(tuned_median=_tuned_median())}
    assert is_tuned(tuned, ["student"], config)
    assert not is_tuned(tuned, ["student", "teacher"], config)
    more = override_config(config, ["postprocess.methods=[median, tuned_median, sebbs]"])
    assert not is_tuned(tuned, ["student"], more)
    assert is_tuned({}, ["student"], override_config(config, ["postprocess.methods=[median]"]))


def test_the_chosen_method_is_the_default(config: Config) -> None:
    selection = Selection(
        method="tuned_median", metric="psds1", clips=9, folds=3, values={"median": {"psds1": 0.5}}
    )
    tuned = TunedParameters(tuned_median=_tuned_median(), selection=selection)
    assert default_method(config, tuned) == "median"  # the first of the methods
    own = override_config(config, ["postprocess.choose_method=true"])
    assert postprocessing(own, tuned).method == "tuned_median"
    assert default_method(own, None) == "median"
    assert is_tuned({"student": tuned}, ["student"], own)
    without = tuned.model_copy(update={"selection": None})
    assert not is_tuned({"student": without}, ["student"], own)
    calibrated = override_config(own, ["postprocess.calibrate_confidence=true"])
    assert not is_tuned({"student": tuned}, ["student"], calibrated)
    assert load_tuned({CHECKPOINT_KEY: dump_tuned({"student": tuned})}, "best.ckpt") == {
        "student": tuned
    }
    with pytest.raises(InputError, match="choose_method: expected false, or at least 2 methods"):
        override_config(own, ["postprocess.methods=[median]"])


def test_tuned_parameters_of_a_checkpoint() -> None:
    tuned = {"student": TunedParameters(tuned_median=_tuned_median())}
    assert load_tuned({CHECKPOINT_KEY: dump_tuned(tuned)}, "best.ckpt") == tuned
    assert load_tuned({}, "best.ckpt") == {}
    for content in (["student"], {"student": {"tuned_median": {"window": 3}}}):
        with pytest.raises(InputError, match=r"^best\.ckpt: postprocessing: "):
            load_tuned({CHECKPOINT_KEY: content}, "best.ckpt")
