"""A user of the page in Chromium: answers, corrections, saving; the table becomes a data set."""

import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.dataio.annotations import read_strong
from desed_task.labels import Event
from desed_task.review import DETECTED, POSSIBLY_MISSED, Audio, Place, write_review
from desed_task.review.page import TABLE
from desed_task.review.snippets import SOUNDS, Snippets
from local.collect import main
from tests.support.browser import CHROMIUM, Page, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
RATE = 8000
NAMES = (
    "<img src=x onerror=fail()>'\" &amp;.wav",
    "</script><script>fail()</script> é.wav",
    "猫.wav",
)
DOG, BIRD = "Dog", "<b>Bird & 鳥</b>"
CTRL, SHIFT = 2, 8


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three recordings of 12 s in folders with names that are markup elsewhere."""
    folder = tmp_path / "audio"
    random = np.random.default_rng(0)
    for name in NAMES:
        path = folder / name.replace("/", "_")
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, random.normal(0, 0.1, 12 * RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(opened: Page, audio: Path, tmp_path: Path) -> Page:
    """The page with five places, opened; what it saves is in the test's folder."""
    paths = sorted(audio.iterdir())
    audios = [Audio(str(path), path, 12.0) for path in paths]
    places = [
        Place(audios[0], 3, 4, DOG, DETECTED, 0.5, 5),
        Place(audios[1], 3, 4, BIRD, DETECTED, 0.6, 4),
        Place(audios[1], 8, 9, DOG, POSSIBLY_MISSED, 0.9, 3),
        Place(audios[2], 3, 4, DOG, DETECTED, 0.7, 2),
        Place(audios[2], 7, 8, DOG, DETECTED, 0.8, 1),
    ]
    others = [Place(audios[0], 5.5, 7, BIRD, DETECTED, 0.9, 0)]
    written = write_review(
        tmp_path, "<i>Events</i>", places, others, (DOG, BIRD), Snippets(tmp_path / SOUNDS, RATE)
    )
    opened.save_to(tmp_path)
    opened.open(written)
    return opened


def _saved(page: Page, folder: Path) -> str:
    """The text of the table that the page saves; it is removed."""
    page.click("#save")
    path = folder / TABLE
    for _ in range(200):
        if path.is_file() and (text := path.read_text(encoding="utf-8")):
            path.unlink()
            return text
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


def _text(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).textContent"))


def _answer(page: Page) -> None:
    """Answer all places but the last one."""
    page.press("w")  # a mistake
    page.press("z", CTRL)
    page.press("r")
    page.press("1")  # another class: a dog
    page.click("#wrong")  # nothing was missed
    strip = page.box("#strip")
    y = strip["y"] + 50

    def x(second: float) -> float:
        """Of the window from 1 to 6 s."""
        return strip["x"] + strip["width"] * (second - 1) / 5

    edge = page.box(".edge.offset")
    assert edge["x"] + edge["width"] / 2 == pytest.approx(x(4), abs=3)
    page.drag((x(4), y), (x(4.5), y))
    page.press("ArrowLeft")
    page.press("ArrowRight", SHIFT)
    page.drag((x(1.2), y), (x(1.6), y))  # an event that was missed
    page.run(
        "const select = document.querySelector('#events select');"
        f"select.value = '={BIRD}'; select.onchange()"
    )
    page.press("ArrowDown")


def test_answers_are_saved_and_collected(page: Page, audio: Path, tmp_path: Path) -> None:
    assert _text(page, "h1") == "<i>Events</i>"
    assert page.run("document.querySelectorAll('.row').length") == 5
    assert page.run("document.querySelectorAll('img').length") == 6  # none of the names
    seconds = page.run(
        "new Promise(done => { const sound = document.getElementById('sound');"
        "sound.onloadeddata = () => done(sound.duration); sound.load(); })"
    )
    assert seconds == pytest.approx(5, abs=0.01)  # 3 to 4 s, and two seconds around
    assert page.run("document.getElementById('picture').naturalHeight") == 96
    assert "(dashed): 1." in _text(page, "#note")
    _answer(page)
    saved = _saved(page, tmp_path)
    table = pd.read_csv(StringIO(saved), sep="\t", keep_default_na=False)
    paths = sorted(map(str, audio.iterdir()))
    assert list(table.filename) == [paths[n] for n in (0, 1, 1, 2, 2)]
    assert list(table.answer) == ["right", "changed", "wrong", "changed", "added"]
    assert list(table.event_label) == [DOG, DOG, "", DOG, BIRD]
    # Of the first recording up to an event that is not on the page.
    stretches = list(zip(table.reviewed_from, table.reviewed_to, strict=True))
    assert stretches == [(1, 5.5), (1, 6), (6, 11), (1, 6), (1, 6)]
    times = [float(time) for time in (*table.onset[3:], *table.offset[3:])]
    assert times == pytest.approx([2.95, 1.2, 4.55, 1.6], abs=0.02)

    (tmp_path / TABLE).write_text(saved, encoding="utf-8")
    out = tmp_path / "out"
    main([f"--audio={audio}", f"--labels={tmp_path / TABLE}", f"--output={out}"])
    clips = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    spans = sorted(zip(clips.recording, clips.start, clips.end, strict=True))
    assert spans == [(paths[0], 1, 5.5), (paths[1], 1, 11), (paths[2], 1, 6)]
    found: dict[str, Any] = {}
    for tsv in (out / "metadata").rglob("*/*.tsv"):
        if "durations" not in tsv.name:
            found |= read_strong(tsv, [DOG, BIRD])
    by_recording = dict(zip(clips.recording, clips.filename, strict=True))
    assert list(found[by_recording[paths[0]]]) == [Event(2, 3, DOG)]
    assert list(found[by_recording[paths[1]]]) == [Event(2, 3, DOG)]
    assert [event.event_label for event in found[by_recording[paths[2]]]] == [BIRD, DOG]


def test_answers_come_back(page: Page, tmp_path: Path) -> None:
    """After the page is opened again, and from a saved table where the browser kept nothing."""
    _answer(page)
    first = _saved(page, tmp_path)
    page.reload()
    assert _saved(page, tmp_path) == first
    page.run("localStorage.clear()")
    page.reload()
    assert "0 have an answer" in _text(page, "#status")
    table = tmp_path / "table.tsv"
    table.write_text(first, encoding="utf-8")
    page.choose_file("#file", table)
    assert page.run(
        "new Promise(done => { const look = () => document.getElementById('status').textContent"
        ".includes('table.tsv: 4 answers') ? done(true) : setTimeout(look, 20); look(); })"
    )
    assert _saved(page, tmp_path) == first
    page.press("z", CTRL)
    assert "0 have an answer" in _text(page, "#status")


def test_filters(page: Page) -> None:
    def listed(field: str, value: str) -> int:
        page.run(
            f"(() => {{ const field = document.getElementById({field!r});"
            f"field.value = {value!r}; field.oninput(); }})()"
        )
        return int(page.run("document.querySelectorAll('.row').length"))

    assert listed("class", BIRD) == 1
    assert listed("class", "") == 5
    assert listed("kind", "possibly missed") == 1
    assert listed("kind", "") == 5
    assert listed("recording", "猫") == 2
    assert listed("recording", "") == 5
    page.press("r")
    assert listed("state", "answered") == 1
    assert listed("state", "open") == 4
    page.press("w")  # it leaves the list, and the next one is chosen
    assert page.run("document.querySelectorAll('.row').length") == 3
    assert page.run("document.querySelectorAll('.row.chosen').length") == 1
