"""Hostile files: nothing in them runs, nothing exhausts memory or time, each gives one message."""

import json

import pytest

from desed_task.errors import MAX_LINE_LENGTH, MAX_LINES
from tests.support import hostile
from tests.support.program import run_program

# A reader may accept these: they are odd, but can be read.
READABLE = {
    "wav/samples_2_32",  # the length that programs write which stream and cannot know it
    "wav/more_than_there_is",
    "wav/odd_bits",
    "predictions/many_columns",
    "predictions/utf_16",
    "predictions/empty",
    "durations/wrong_rows",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    folder = tmp_path_factory.mktemp("hostile")
    done = run_program(["-m", "tests.support.hostile", str(folder)])
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str | None] = json.loads(done.stdout)
    found["trace"] = str(
        list(folder.rglob(hostile.TRACE)) + list(folder.parent.glob(hostile.TRACE))
    )
    return found


def test_no_code_runs(outcomes: dict[str, str | None]) -> None:
    assert outcomes["trace"] == "[]"


def test_every_file_gives_a_message(outcomes: dict[str, str | None]) -> None:
    assert len(outcomes) > 150
    wrong = {
        name: message
        for name, message in outcomes.items()
        if (message is None) != (name in READABLE) or (message or "").startswith("FAULT")
    }
    assert wrong == {}


def test_messages_are_short(outcomes: dict[str, str | None]) -> None:
    for name, message in outcomes.items():
        lines = (message or "").splitlines()
        assert len(lines) <= MAX_LINES + 1, name
        assert all(len(line) <= MAX_LINE_LENGTH + 3 for line in lines), name
