"""What pictures of many classes leave out, and characters that the pictures' font lacks."""

import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font

from desed_task.detect.events import Detection
from desed_task.detect.plots import find_lanes
from desed_task.drawing import fonts
from desed_task.drawing.clip_pictures import choose_rows, draw_clip
from desed_task.drawing.style import class_text, new_figure, plain, to_image
from desed_task.evaluation import Scores, evaluate
from desed_task.report import ReportSystem
from desed_task.report.psd_roc import SystemRoc, draw_class_curves, named_classes
from desed_task.report.systems import ReportInput
from local.results.pictures import choose_classes
from tests.support import cases
from tests.support.report_cases import table_of

DOG, CAT = "\u72ac", "\u732b"  # in no font that comes with matplotlib
SCRIPT_A = "\U0001d4d0"  # not in its default font, but in another one


def height(png: bytes) -> int:
    """Pixels, from the PNG's header."""
    return int.from_bytes(png[20:24], "big")


def test_a_clip_shows_true_classes_and_the_longest_detected_ones() -> None:
    classes = tuple("ABCDEF")
    truth = cases.truth_of({"clip": [(0.0, 0.1, "F")]}, classes=classes)
    true = table_of(truth, [("clip", 0.0, 0.1, "F")])
    first = table_of(truth, [("clip", 0.0, 2.0, "B"), ("clip", 5.0, 6.5, "D")])
    second = table_of(truth, [("clip", 0.0, 3.0, "C"), ("clip", 0.0, 1.5, "D")])
    assert choose_rows(true, [first, second], most=3) == ([2, 3, 5], 1)  # F; C and D have 3 s
    assert choose_rows(true, [first, second]) == ([1, 2, 3, 5], 0)


def test_pictures_of_many_classes_are_not_higher_than_of_some() -> None:
    classes = tuple(f"class_{number}" for number in range(40))
    truth = cases.truth_of({"clip": [(1.0, 3.0, name) for name in classes[:30]]}, classes=classes)
    values = np.zeros((1, 40, 156), np.float32)
    values[:, :, 16:47] = 0.9
    metrics = evaluate(Scores(values, ["clip"], cases.GRID), truth)
    report = ReportInput([ReportSystem("system", metrics)])
    assert height(draw_clip(report, "clip", None)) < 1200
    panels = draw_class_curves({0: SystemRoc("system", metrics.rocs["psds1"], None)}, classes)
    assert height(panels) < 1200  # five rows of six


def test_the_best_and_the_worst_classes_have_a_colour() -> None:
    areas = {4: 0.9, 0: 0.1, 1: 0.5, 3: 0.4, 2: 0.6}
    assert named_classes(areas, most=2) == [0, 4]
    assert named_classes(areas, most=4) == [0, 2, 3, 4]
    assert named_classes(areas, most=5) == [0, 1, 2, 3, 4]


def test_lanes_of_a_recording() -> None:
    found = [
        Detection(50.0, 61.0, "first", 0.9),  # 1 s of it after a minute
        Detection(62.0, 65.0, "second", 0.9),
        Detection(70.0, 70.5, "third", 0.9),
        Detection(80.0, 80.7, "third", 0.9),
        Detection(130.0, 131.0, "later", 0.9),
    ]
    lanes = find_lanes(found, 60.0, 120.0, most=2)
    assert (lanes.events, lanes.names, lanes.n_others) == (found[:4], ["second", "third"], 1)
    assert find_lanes(found, 60.0, 120.0).names == ["first", "second", "third"]
    assert find_lanes(found, 200.0, 260.0) == ([], [], 0)


def test_a_validation_picture_shows_true_classes_and_the_highest_scores() -> None:
    true, scores = np.zeros((5, 3)), np.zeros((5, 3))
    true[4, 1] = 1
    scores[:4, 2] = [0.1, 0.8, 0.2, 0.9]
    assert choose_classes(true, scores, most=3) == [1, 3, 4]
    assert choose_classes(true, scores) == [0, 1, 2, 3, 4]


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
