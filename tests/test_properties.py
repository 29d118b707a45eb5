"""Any text or bytes give a value or an InputError, and what was written is read back equal.

`SED_FUZZ_SECONDS=600 pytest tests/test_properties.py` searches for so long in each test, with new
random inputs; without it a few hundred inputs, always the same ones, are tried.
"""

import functools
import os
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desed_task.dataio.annotations import read_strong
from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores, read_scores, write_scores
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.config.load import load_config
from local.config.yaml_files import dump_yaml, parse_value, read_composed
from tests.support.paths import CONFS
from tests.support.readers import table_readers

FUZZ_SECONDS = int(os.environ.get("SED_FUZZ_SECONDS", "0"))
CLASSES = ("Dog", "Speech", "Wasser läuft")
CLIPS: dict[str, list[Event]] = {"a.wav": [], "b 1.5.wav": []}
TRUTH = GroundTruth(CLASSES, CLIPS, {"a.wav": 10.0, "b 1.5.wav": 3.2})
GRID = FrameGrid(clip_seconds=1.0)

# Pieces of real files, so that the search gets past the header.
PIECES = st.sampled_from(
    [
        *"\t,\n\r\"' ;:#&*!|>-[]{}.eE0123456789",
        *("\r\n", "\ufeff", "\0", "nan", "inf", "-1", "1e309", *CLASSES, *CLIPS),
        *("filename", "onset", "offset", "event_label", "event_labels", "duration"),
        *("filename\tonset\toffset\tevent_label\n", "a.wav\t0.5\t1.5\tDog\n"),
        *("filename\tevent_labels\n", "filename\tduration\n", "training:", "  seed: 1"),
        "onset\toffset\tDog\tSpeech\tWasser läuft\n",
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200))
CONTENTS = st.one_of(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary())


def searched(test: Callable[..., None]) -> Callable[..., None]:
    """The test with hypothesis' settings; in a long search it is repeated until the time is over.

    Hypothesis has no limit of time.
    """
    once = settings(
        max_examples=1000 if FUZZ_SECONDS else 150,
        derandomize=not FUZZ_SECONDS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(test)

    @functools.wraps(once)
    def repeated(*args: Any, **kwargs: Any) -> None:
        end = time.monotonic() + FUZZ_SECONDS
        once(*args, **kwargs)
        while time.monotonic() < end:
            once(*args, **kwargs)

    return repeated if FUZZ_SECONDS else once


READERS: dict[str, Callable[[Path], object]] = table_readers(TRUTH) | {
    "yaml": read_composed,
    "configuration": load_config,
}


@pytest.mark.parametrize("kind", READERS)
def test_any_content_gives_a_value_or_a_message(kind: str, tmp_path: Path) -> None:
    read = READERS[kind]
    name = {"scores": "a.tsv", "yaml": "conf.yaml", "configuration": "conf.yaml"}.get(kind, "t.tsv")

    @searched
    @given(CONTENTS)
    def check(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        try:
            read(tmp_path / name)
        except InputError as error:
            assert name in str(error)  # noqa: PT017 - any other exception fails the test

    check()


def test_any_override_gives_a_value_or_a_message() -> None:
    keys = st.sampled_from(
        ["training.seed", "data.test_folder", "net", "augs.aug_methods", "", "a.b"]
    )

    @searched
    @given(keys, TEXTS)
    def check(key: str, text: str) -> None:
        try:
            load_config(CONFS / "sed.yaml", [f"{key}={text}"])
        except InputError as error:
            assert key in str(error)  # noqa: PT017 - any other exception fails the test

    check()


TIMES = st.floats(0, 9.9, allow_nan=False).map(lambda seconds: round(seconds, 3))
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(list(CLIPS)), TIMES, st.floats(0.001, 0.099), st.sampled_from(CLASSES)
    ),
    max_size=12,
)


@searched
@given(EVENTS)
def test_events_are_read_back(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    path = tmp_path_factory.mktemp("events") / "strong.tsv"
    events = [(name, onset, onset + round(length, 3), label) for name, onset, length, label in rows]
    lines = [f"{name}\t{onset!r}\t{offset!r}\t{label}\n" for name, onset, offset, label in events]
    path.write_text("filename\tonset\toffset\tevent_label\n" + "".join(lines) + "a.wav\n", "utf-8")
    found = read_strong(path, CLASSES)
    expected: dict[str, list[tuple[Any, ...]]] = {name: [] for name, *_ in [*events, ("a.wav",)]}
    for name, *event in events:
        if tuple(event) not in expected[name]:
            expected[name].append(tuple(event))
    assert {name: [tuple(event) for event in clip] for name, clip in found.items()} == expected


@searched
@given(st.lists(st.floats(0, 1, width=32), min_size=45, max_size=45))
def test_scores_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("scores") / "scores"
    scores = np.array(values, dtype=np.float32).reshape(1, 3, 15)
    write_scores(folder, Scores(scores, ["a.wav"], GRID), CLASSES)
    truth = GroundTruth(CLASSES, {"a.wav": []}, {"a.wav": 0.9})
    read = read_scores(folder, truth).values.astype(np.float32)
    assert (read == scores).all()


# PyYAML itself changes line separators such as U+0085.
YAML_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
KEYS = YAML_TEXT.map(functools.partial(unicodedata.normalize, "NFC"))
PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | YAML_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@searched
@given(PLAIN_VALUES)
def test_values_that_are_written_are_read_back(value: Any) -> None:
    assert parse_value(dump_yaml(value), "--set") == value
