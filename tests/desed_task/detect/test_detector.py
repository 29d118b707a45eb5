"""A detector on files, arrays and streams."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from desed_task.detect import Detector, Settings
from desed_task.detect.events import Detection, EventJoiner
from desed_task.errors import InputError
from desed_task.features import ScalerSettings
from desed_task.model import load_model
from desed_task.postprocess.calibration import Calibration, Curve
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.methods import MedianParameters, Postprocessing, TunedParameters
from desed_task.sod import corrected_scores
from tests.support.slow_decoding import decode_strong
from tests.support.tiny_model import tiny_description, tiny_model, write_tiny_model


def test_a_short_file_by_hand(model: Path, recordings: Path) -> None:
    """Features, network, correction, median filter and threshold, one after the other."""
    network = load_model(model)
    description, path = network.description, recordings / "short.WAV"
    resampled = soundfile.read(path, dtype="float32")[0]
    import soxr

    audio = soxr.resample(resampled, 16000, 8000)
    padded = np.pad(audio, (0, description.grid.n_samples - len(audio)))
    with torch.no_grad():
        strong, _, sod = network(torch.from_numpy(padded)[None])
    assert sod is not None
    corrected = corrected_scores(
        strong[0].numpy(), sod[0].T.numpy(), description.classes, description.correction
    )
    smooth = median_filter(corrected[None], [3, 3, 3])[0]
    found = Detector.load(model)(path)
    frames = found.scores.shape[1]
    assert frames == int(np.ceil(0.7 / 0.064))
    np.testing.assert_allclose(found.scores.to_numpy(), smooth[:, :frames], atol=1e-4)
    assert list(found.scores.index) == ["Bell", "Cat 猫", "Dog"]
    np.testing.assert_allclose(found.scores.columns, np.arange(frames) * 0.064)
    assert found.sod is not None
    np.testing.assert_allclose(found.sod.sum(), 1, atol=1e-5)
    assert found.seconds == pytest.approx(0.7)
    active = found.values > 0.5
    expected = decode_strong(active, description.classes, description.grid)
    assert len(expected) > 0
    for one, other in zip(_by_class(found.detections), expected, strict=True):
        assert (one.event_label, one.onset) == (other.event_label, other.onset)
        assert one.offset == min(other.offset, 0.7)


def test_settings_name_classes_in_any_unicode_form() -> None:
    names = ("Z\u00e4hler", "Hund", "\u00c5")
    windows = MedianParameters(window=dict.fromkeys(names, 3), f1_threshold=0.5)
    postprocessing = Postprocessing(method="median", median=windows, tuned=TunedParameters())
    description = tiny_description(classes=names, postprocessing=postprocessing)
    settings = Settings({"Za\u0308hler": 0.2}, classes=["Za\u0308hler", "\u212b"])
    assert settings.checked(description).thresholds == [0.2, float("inf"), 0.5]
    for twice in (Settings(classes=names * 2), Settings({names[0]: 0.1, "Za\u0308hler": 0.2})):
        with pytest.raises(InputError, match=r"expected each class once, got .*Z\u00e4hler"):
            twice.checked(description)


@pytest.mark.parametrize(
    ("changes", "is_local"),
    [
        ({}, True),
        ({"scaler": ScalerSettings(statistic="instance", normtype="mean", dims=(1, 2))}, False),
        ({"scaler": ScalerSettings(statistic="dataset", normtype="mean", dims=(2,))}, True),
        ({"scaler": ScalerSettings(statistic="dataset", normtype="mean", dims=(1,))}, False),
    ],
)
def test_less_silence_hardly_changes_scores(changes: dict[str, Any], is_local: bool) -> None:
    """Of a model that averages nothing over the frames of a window."""
    model = tiny_model(clip_seconds=6.0, **changes)
    assert model.is_local == is_local
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    audio = torch.from_numpy(np.pad(noise, (0, 5 * 8000)).astype(np.float32))[None]
    if is_local:
        with torch.no_grad():
            whole, short = model(audio).strong, model(audio[:, :24000]).strong
        torch.testing.assert_close(short[..., :16], whole[..., :16], atol=1e-4, rtol=0)


def _by_class(events: list[Detection]) -> list[Detection]:
    return sorted(events, key=lambda event: (event.event_label, event.onset))


def test_an_array_is_as_its_file(model: Path, recordings: Path) -> None:
    detector = Detector.load(model, batch_size=2)
    for name in ("long.wav", "long.flac"):
        audio, rate = soundfile.read(recordings / name)
        from_file, from_array = detector(recordings / name), detector(audio, rate)
        np.testing.assert_allclose(from_file.values, from_array.values, atol=1e-5)
        assert from_file.seconds == from_array.seconds
    with pytest.raises(InputError, match="rate: expected the sample rate of the array"):
        detector(audio)
    with pytest.raises(InputError, match=r"broken\.wav: cannot be read as audio"):
        detector(recordings / "broken.wav")


def test_both_runtimes_and_precisions(model: Path, recordings: Path, tmp_path: Path) -> None:
    from desed_task.model.graphs import export_graphs

    write_tiny_model(tmp_path)
    export_graphs(tmp_path, onnx=True, torch_export=False)
    expected = Detector.load(model)(recordings / "long.wav").values
    onnx = Detector.load(tmp_path, runtime="onnx")(recordings / "long.wav").values
    np.testing.assert_allclose(onnx, expected, atol=1e-4)
    half = Detector.load(model, precision="bf16")(recordings / "long.wav").values
    np.testing.assert_allclose(half, expected, atol=0.2)
    assert not np.array_equal(half, expected)


def _stream(detector: Detector, audio: NDArray[np.floating], rate: int, latency: float):  # type: ignore[no-untyped-def]
    stream = detector.stream(rate, 1, latency)
    events = [
        e for start in range(0, len(audio), 1111) for e in stream(audio[start : start + 1111])
    ]
    return [*events, *stream.finish()]


@pytest.fixture(scope="module")
def thresholds(model: Path, recordings: Path) -> dict[str, float]:
    """Thresholds amid the random network's scores, so that events are many; none is a score."""
    found = Detector.load(model)(recordings / "long.wav")
    middle = np.sort(found.values, axis=1)[:, 70:110]
    widest = np.diff(middle, axis=1).argmax(axis=1)
    bounds = [row[[k, k + 1]].mean() for row, k in zip(middle, widest, strict=True)]
    return dict(zip(found.classes, map(float, bounds), strict=True))


@pytest.mark.parametrize("more", [{}, {"merge_gap": 0.3, "min_duration": 0.1}])
def test_a_stream_has_the_events_of_the_file(
    more: dict[str, float], thresholds: dict[str, float], model: Path, recordings: Path
) -> None:
    """With a window of latency; with less, events differ where a window's later half decides."""
    detector = Detector.load(model, settings=Settings(threshold=thresholds, **more))  # type: ignore[arg-type]
    audio, rate = soundfile.read(recordings / "long.wav", dtype="float32")
    expected = _by_class(detector(recordings / "long.wav").detections)
    assert len(expected) > 5
    found = _by_class(_stream(detector, audio, rate, latency=2.5))
    assert [e.event_label for e in found] == [e.event_label for e in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.onset == pytest.approx(other.onset)
        assert one.offset == pytest.approx(other.offset)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert _stream(detector, audio, rate, latency=0.5)


def test_events_of_a_stream_come_when_they_are_certain(
    thresholds: dict[str, float], model: Path, recordings: Path
) -> None:
    detector = Detector.load(model, settings=Settings(threshold=thresholds))
    audio, rate = soundfile.read(recordings / "long.wav", dtype="float32")
    stream = detector.stream(rate, 1, latency=0.5)
    heard, number = 0.0, 0
    for start in range(0, len(audio), 400):
        heard = (start + 400) / rate
        for event in stream(audio[start : start + 400]):
            number += 1
            # Half a latency between windows, the median filter, and the frame that ends it.
            assert heard - event.offset < 0.5 + 0.25 + 5 * 0.064
    assert number > 5


def test_what_a_stream_cannot_do(model: Path) -> None:
    with pytest.raises(InputError, match="--postprocess sebbs: needs the whole recording"):
        Detector.load(model, settings=Settings(method="sebbs")).stream(8000)
    for given in ((0, 1, 2.0), (8000, 0, 2.0), (8000, 1, 0.0)):
        with pytest.raises(
            InputError, match=r"expected .*(at least 1|1 to 64|more than 0 s), got 0"
        ):
            Detector.load(model).stream(*given)


@pytest.mark.parametrize("more", [{}, {"merge_gap": 0.3}])
def test_confidence_is_calibrated_on_whole_events(
    more: dict[str, float],
    thresholds: dict[str, float],
    model: Path,
    recordings: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By a curve that is no straight line: a mean of probabilities of parts would be another."""
    curve = Curve(method="platt", events=40, score=(0.2, 0.5, 1.0), probability=(0.0, 0.1, 0.9))
    own = Curve(method="platt", events=40, score=(0.5,), probability=(0.25,))
    plain = load_model(model).description.postprocessing
    calibration = {"median": Calibration(common=curve, by_class={"Dog": own})}
    tuned = plain.tuned.model_copy(update={"calibration": calibration})
    write_tiny_model(
        tmp_path,
        postprocessing=plain.model_copy(update={"method": "sebbs", "tuned": tuned}),
    )
    settings = Settings(threshold=thresholds, method="median", **more)  # type: ignore[arg-type]
    expected = Detector.load(model, settings=settings)(recordings / "long.wav").detections
    detector = Detector.load(tmp_path, settings=settings)
    found = detector(recordings / "long.wav").detections
    assert len(found) == len(expected) > 5
    for one, other in zip(found, expected, strict=True):
        assert (one.onset, one.offset) == (other.onset, other.offset)
        wanted = np.interp(other.confidence, curve.score, curve.probability)
        assert one.confidence == pytest.approx(0.25 if one.event_label == "Dog" else wanted)
    audio, rate = soundfile.read(recordings / "long.wav", dtype="float32")
    # The default, sebbs, needs the whole recording: a stream uses the median filter.
    default = Detector.load(tmp_path, settings=Settings(threshold=thresholds, **more))  # type: ignore[arg-type]
    streamed = _by_class(_stream(default, audio, rate, latency=2.5))
    assert "sebbs needs the whole recording: median is used" in caplog.text
    for one, other in zip(streamed, _by_class(found), strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_boxes_and_their_threshold(model: Path, recordings: Path) -> None:
    many = Detector.load(model, settings=Settings(method="sebbs", threshold=0.1))
    few = Detector.load(model, settings=Settings(method="sebbs", threshold=0.6))
    found = many(recordings / "long.wav")
    all_boxes, some = found.detections, few(recordings / "long.wav").detections
    for name, scores in found.scores.iterrows():  # by the times of the boxes
        assert scores.max() == max(b.confidence for b in all_boxes if b.event_label == name)
    assert found.sod is not None
    assert found.sod.shape == (3, 177)  # by frames
    assert 0 < len(some) < len(all_boxes)
    assert [b for b in all_boxes if b.confidence > 0.6] == some


def test_thresholds_and_classes(model: Path, recordings: Path) -> None:
    path = recordings / "long.wav"
    found = Detector.load(model, settings=Settings(threshold={"Dog": 2.0}))(path)
    assert {each.event_label for each in found.detections} == {"Bell", "Cat 猫"}
    found = Detector.load(model, settings=Settings(classes=["Dog"]))(path)
    assert {each.event_label for each in found.detections} == {"Dog"}


WRONG = {
    "--classes: expected classes of the model": Settings(classes=["Dgo"]),
    "got Dgo (did you mean Dog?)": Settings(classes=["Dgo"]),
    "--threshold: expected classes of the model": Settings(threshold={"Cow": 0.5}),
    "--threshold: expected at least 0, got nan": Settings(threshold=float("nan")),
    "--merge_gap: expected at least 0, got -1": Settings(merge_gap=-1),
    "--min_duration: expected at least 0, got nan": Settings(min_duration=float("nan")),
    "--overlap: expected at least 0 and at most 0.95, got 1": Settings(overlap=1),
    "tuned_median: the model has no parameters of it: expected median, sebbs": Settings(
        method="tuned_median"
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_settings_that_do_not_fit(message: str, model: Path) -> None:
    with pytest.raises(InputError) as caught:
        Detector.load(model, settings=WRONG[message])
    assert message in str(caught.value)


def test_close_events_are_merged_before_short_ones_are_dropped() -> None:
    joiner = EventJoiner(merge_gap=0.5, min_duration=1.0)
    events = [
        Detection(0.0, 0.6, "Dog", 0.6),
        Detection(1.0, 1.2, "Dog", 1.0),
        Detection(1.1, 3.0, "Bell", 0.9),
        Detection(1.8, 2.0, "Dog", 0.9),
    ]
    merged = Detection(0.0, 1.2, "Dog", pytest.approx(0.7))  # type: ignore[arg-type]
    assert joiner.add(events[:2], end=1.6) == []
    assert joiner.add(events[2:3], end=1.7) == [merged]  # a later dog is another one
    assert joiner.add(events[3:], end=np.inf) == [events[2]]
    assert EventJoiner(0.5, 1.0).add(events, np.inf) == [merged, events[2]]
