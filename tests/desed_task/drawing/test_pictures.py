"""Pictures of clips: the classes they draw of many, log-mel, texts and fonts."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.detect.plots import strip_panel
from desed_task.drawing import fonts
from desed_task.drawing.clip_pictures import Panel, Row, Strip, choose_rows, draw_clip, log_mel
from desed_task.drawing.style import class_text, new_figure, plain, to_image
from tests.support.audio_files import write_tone

DOG, CAT = "\u72ac", "\u732b"  # in no font that comes with matplotlib
SCRIPT_A = "\U0001d4d0"  # not in its default font, but in another one


def test_a_clip_shows_true_classes_and_then_those_that_are_found() -> None:
    true = np.array([0, 0, 0, 0, 0, 0.1])
    found = np.array([0, 2.0, 3.0, 3.0, 0, 0])
    assert choose_rows(true, found, most=3) == ([2, 3, 5], " (not drawn: 1 of 4 classes)")
    assert choose_rows(true, found) == ([1, 2, 3, 5], "")
    assert choose_rows(0 * true, 0 * found) == ([], "")


@pytest.mark.parametrize("kind", ["events", "scores", "boxes"])
def test_events_are_drawn_in_their_row_and_at_their_time(kind: str) -> None:
    span = np.array([[2.0, 4.0]])
    row = {
        "events": Row(name="b", events=span),
        "scores": Row(name="b", scores=np.array([0, 1, 0])),
        "boxes": Row(name="b", boxes=np.array([[2.0, 4.0, 1.0]])),
    }[kind]
    panel = Panel("", [Row(name="a"), row], "#ff0000", np.array([0.0, 2.0, 4.0, 8.0]))
    figure = draw_clip([Strip(0.0, 8.0, [panel])])
    pixels = np.asarray(to_image(figure)).astype(int)
    coloured = (pixels[..., 0] > 200) & (pixels[..., 1:].max(axis=2) < 200)
    (axes,) = figure.axes
    image_rows, image_columns = np.nonzero(coloured)
    corners = np.stack([image_columns, len(pixels) - 1 - image_rows], axis=1)
    seconds, lines = axes.transData.inverted().transform(corners).T
    assert seconds.min() == pytest.approx(2.0 if kind != "scores" else 0.0, abs=0.1)
    assert seconds.max() == pytest.approx(4.0 if kind != "scores" else 8.0, abs=0.1)
    high = seconds[lines < 1.5]
    assert high.min() == pytest.approx(2.0, abs=0.1)
    assert high.max() == pytest.approx(4.0, abs=0.1)
    assert lines.min() > 1
    assert lines.max() < 2


def test_a_strip_of_a_recording_shows_the_classes_that_are_detected_there() -> None:
    found = [
        Detection(50.0, 61.0, "first", 0.9),  # 1 s of it after a minute
        Detection(62.0, 65.0, "second", 0.9),
        Detection(70.0, 70.5, "third", 0.9),
        Detection(80.0, 80.7, "third", 0.9),
        Detection(130.0, 131.0, "later", 0.9),
    ]
    classes = ("later", "third", "second", "first")
    edges = np.arange(0.0, 141.0, 10.0).astype(np.float64)
    scores = np.arange(4 * 14).reshape(4, 14) / 100
    result = Result(140.0, found, classes, scores, edges, None, edges, 8e3)
    panel = strip_panel(result, 60.0, 120.0)
    assert [row.name for row in panel.rows] == ["third", "second", "first"]
    np.testing.assert_array_equal(panel.rows[2].events, [[60.0, 61.0]])
    np.testing.assert_array_equal(panel.edges, edges[6:13])
    np.testing.assert_array_equal(panel.rows[0].scores, scores[1, 6:12])
    assert strip_panel(result, 131.5, 140.0).rows == []


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_spectrogram_of_a_tone(tmp_path: Path, rate: int) -> None:
    path = write_tone(tmp_path / "a.wav", 2.0, rate, hertz=1000.0)
    spectrogram = log_mel(path, seconds=1.5)
    assert spectrogram.seconds == pytest.approx(1.5)
    assert spectrogram.max_hz == min(8000, rate / 2)
    bands, frames = spectrogram.values.shape
    assert frames == pytest.approx(1.5 / 0.016, abs=2)
    loudest = spectrogram.values[:, frames // 2].argmax()
    mel = 1127 * np.log1p(np.array([1000.0, spectrogram.max_hz]) / 700)
    assert loudest == pytest.approx(bands * mel[0] / mel[1], abs=1.5)


def test_long_names_that_differ_at_the_end_differ_in_pictures() -> None:
    name = "Alarm_bell_ringing_in_the_far_corner_of_the_living_room_on_the_"
    texts = [class_text(name + side) for side in ("left", "right")]
    assert texts == ["Alarm bell ring\u2026om on the left", "Alarm bell ring\u2026m on the right"]
    assert {len(text) for text in texts} == {30}
    assert plain("abcdef", 5) == "ab\u2026ef"
    assert plain("abcde", 5) == "abcde"


@pytest.mark.parametrize("font", [None, "an installed font"])
def test_characters_without_a_font_are_replaced_by_their_codes(
    font: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {DOG: font, CAT: font}
    monkeypatch.setattr(fonts, "_family_with", lambda character: known.get(character, ""))
    text = f"{DOG} a {CAT}\ufe0f"
    assert plain(text) == (f"{DOG} a {CAT}" if font else "[72AC] a [732B]")


def test_another_font_is_used_where_the_default_lacks_a_character() -> None:
    assert fonts.fallback_families("Caf\u00e9 \u0441\u043e\u0431\u0430\u043a\u0430") == []
    (family,) = fonts.fallback_families(SCRIPT_A)
    assert get_font(findfont(family)).get_char_index(ord(SCRIPT_A)) > 0
    families = {}
    for text in ("Cat", SCRIPT_A):
        figure = new_figure(1, width=1)
        figure.add_subplot().set_yticks([0, 1], [text, "Dog"])
        to_image(figure)
        families[text] = figure.axes[0].get_yticklabels()[0].get_fontfamily()
    assert families == {"Cat": ["sans-serif"], SCRIPT_A: ["sans-serif", family]}
