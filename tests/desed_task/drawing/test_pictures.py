"""Pictures of clips: the classes they draw of many, log-mel, texts and fonts."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.detect.plots import strip_panel
from desed_task.drawing import fonts
from desed_task.drawing.canvas import MAGMA, text_mask
from desed_task.drawing.clip_pictures import (
    Panel,
    Row,
    Spectrogram,
    Strip,
    choose_rows,
    draw_clip,
    log_mel,
)
from desed_task.drawing.style import class_text, new_figure, nth_colour, plain, to_image
from tests.support.audio_files import write_tone
from tests.support.paths import ROOT

DOG, CAT = "\u72ac", "\u732b"  # in no font that comes with matplotlib
SCRIPT_A = "\U0001d4d0"  # not in its default font, but in another one


def test_a_clip_shows_true_classes_and_then_those_that_are_found() -> None:
    true = np.array([0, 0, 0, 0, 0, 0.1])
    found = np.array([0, 2.0, 3.0, 3.0, 0, 0])
    assert choose_rows(true, found, most=3) == ([2, 3, 5], " (not drawn: 1 of 4 classes)")
    assert choose_rows(true, found) == ([1, 2, 3, 5], "")
    assert choose_rows(0 * true, 0 * found) == ([], "")


class Plot(NamedTuple):
    """The content of a picture with one frame: colours `(rows, columns, 3)`."""

    pixels: np.ndarray

    @classmethod
    def inside(cls, image: Image.Image) -> "Plot":
        """What is inside the frame, which has the longest black lines."""
        pixels = np.asarray(image.convert("RGB")).astype(int)
        black = (pixels == 0).all(axis=2)
        columns = np.flatnonzero(black.sum(axis=0) > 0.8 * black.sum(axis=0).max())
        rows = np.flatnonzero(black.sum(axis=1) > 0.8 * black.sum(axis=1).max())
        inner = pixels[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]]
        return cls(inner)

    def coloured(self, colour: str) -> np.ndarray:
        """Whether a pixel has exactly this colour."""
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        return (self.pixels == rgb).all(axis=2)


@pytest.mark.parametrize("kind", ["events", "scores", "boxes"])
def test_events_are_drawn_in_their_row_and_at_their_time(kind: str) -> None:
    span = np.array([[2.0, 4.0]])
    row = {
        "events": Row(name="b", events=span),
        "scores": Row(name="b", scores=np.array([0, 1, 0])),
        "boxes": Row(name="b", boxes=np.array([[2.0, 4.0, 1.0]])),
    }[kind]
    colour = nth_colour(1)
    panel = Panel("", [Row(name="a"), row], colour, np.array([0.0, 2.0, 4.0, 8.0]))
    plot = Plot.inside(draw_clip([Strip(0.0, 8.0, [panel])]))
    rows, columns = np.nonzero(plot.coloured(colour))
    seconds, lines = (columns + 0.5) / plot.pixels.shape[1] * 8, 2 * rows / len(plot.pixels)
    assert seconds.min() == pytest.approx(2.0 if kind != "scores" else 0.0, abs=0.02)
    assert seconds.max() == pytest.approx(4.0 if kind != "scores" else 8.0, abs=0.02)
    high = seconds[lines < 1.5]
    assert high.min() == pytest.approx(2.0, abs=0.02)
    assert high.max() == pytest.approx(4.0, abs=0.02)
    assert lines.min() >= 1


def test_scores_true_events_and_threshold_of_a_row() -> None:
    scores = np.array([0.25, 0.75, 0.0, 1.0])
    true = np.array([[6.0, 7.0]])
    row = Row(name="a", scores=scores, true=true, threshold=0.5)
    panel = Panel("", [row], nth_colour(0), np.array([0.0, 2.0, 4.0, 6.0, 8.0]))
    plot = Plot.inside(draw_clip([Strip(0.0, 8.0, [panel])]))
    at = [int(second / 8 * plot.pixels.shape[1]) for second in (1, 3, 5, 7.5)]
    curve = plot.coloured(nth_colour(0))
    tops = [int(np.flatnonzero(curve[:, column])[0]) for column in at]
    assert tops[2] > tops[0] > tops[1] > tops[3]
    heights = (tops[2] - np.array(tops)) / (tops[2] - tops[3])
    np.testing.assert_allclose(heights, scores, atol=0.03)
    white = (plot.pixels == 255).all(axis=2)
    light, grey = (0.35 * np.array([0, 114, 178]) + 0.65 * shade for shade in (255, 0.8 * 255))
    np.testing.assert_allclose(plot.pixels[tops[3] + 3, at[3]], light, atol=1)
    assert white[tops[1] - 3, at[1]]
    middle = int(6.5 / 8 * plot.pixels.shape[1])
    np.testing.assert_allclose(plot.pixels[0, middle], 0.8 * 255, atol=5)
    np.testing.assert_allclose(plot.pixels[tops[3] + 3, middle], grey, atol=5)
    dotted = (plot.pixels == 0).all(axis=2).sum(axis=1)
    assert np.argmax(dotted) == pytest.approx((tops[2] + tops[3]) / 2, abs=1)


@pytest.mark.parametrize("n_frames", [40, 4000])  # fewer and more than columns
def test_a_spectrogram_is_drawn_at_its_time_and_frequency(n_frames: int) -> None:
    values = np.zeros((20, n_frames), np.float32)
    values[15:, n_frames // 4 : n_frames // 2] = 1.0
    strip = Strip(30.0, 40.0, [], Spectrogram(values, 0.0, 8000.0, 8.0))
    plot = Plot.inside(draw_clip([strip]))
    bright, dark = plot.coloured(MAGMA[-1]), plot.coloured(MAGMA[0])
    rows, columns = np.nonzero(bright)
    n_rows, n_columns = bright.shape
    assert (rows.max() + 1) / n_rows == pytest.approx(0.25, abs=0.01)
    assert columns.min() / n_columns * 10 == pytest.approx(2.0, abs=0.02)
    assert columns.max() / n_columns * 10 == pytest.approx(4.0, abs=0.02)
    assert bright.mean() == pytest.approx(0.2 * 0.25, abs=0.002)
    assert np.nonzero(dark)[1].max() / n_columns * 10 == pytest.approx(8.0, abs=0.02)


def test_a_text_needs_matplotlib_only_for_characters_beyond_ascii() -> None:
    code = (
        "import sys; from desed_task.drawing.clip_pictures import *; import numpy as np; "
        "row = Row(name='Dog_bark', boxes=np.array([[1.0, 2.0, 0.5]])); "
        "draw_clip([Strip(0, 9, [Panel('t', [row], '#0072B2')])], 'a.wav'); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


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


def test_each_part_of_a_text_has_a_font_with_its_characters() -> None:
    (first, second, third) = fonts.font_runs(f"a\u00e9{SCRIPT_A}b")
    assert (first, third) == (("a\u00e9", None), ("b", None))
    assert second[0] == SCRIPT_A
    assert second[1] is not None
    assert get_font(second[1]).get_char_index(ord(SCRIPT_A)) > 0
    assert get_font(fonts.default_font()).family_name == "DejaVu Sans"
    drawn = text_mask(f"a{SCRIPT_A}b", 9.0)
    assert drawn.shape[0] == text_mask("a", 9.0).shape[0]
    assert drawn.shape[1] > text_mask("ab", 9.0).shape[1]
    assert not np.array_equal(drawn, text_mask(f"a{chr(ord(SCRIPT_A) + 1)}b", 9.0))
