"""The table that the page saves: the functions of its program, in Node."""

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

NODE = shutil.which("node")
SCRIPT = files("desed_task.review") / "templates" / "review.js"
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")
COLUMNS = (
    *("filename", "onset", "offset", "event_label", "reviewed_from", "reviewed_to"),
    *("answer", "found_onset", "found_offset", "found_label"),
)


def _node(body: str, *values: Any) -> Any:
    """What a function body with the page's functions and `given` returns."""
    program = (
        f"const page = require({json.dumps(str(SCRIPT))});"
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"console.log(JSON.stringify((() => {{{body}}})()))"
    )
    assert NODE is not None
    result = subprocess.run(
        [NODE, "-e", program], input=json.dumps(values), capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


SAVE = """
    const [content, answers] = given;
    const {rows, others} = page.readContent(content);
    const map = new Map(answers.map(([index, answer]) => [rows[index].key, answer]));
    const text = page.tableText(rows, others, map);
    const read = page.readTable(text, rows);
    const both = ({key}) => [map.get(key) ?? null, read.answers.get(key) ?? null];
    return {text, unknown: read.unknown, same: rows.map(both)};
"""


def _answer(verdict: str, onset: float, offset: float, label: str, *added: Any) -> dict[str, Any]:
    events = [{"onset": a, "offset": b, "label": c} for a, b, c in added]
    return {"verdict": verdict, "onset": onset, "offset": offset, "label": label, "added": events}


def _content(rows: Any, others: Any, audios: Any) -> Any:
    kinds = [
        *(["detected", "confidence", "open"], ["possibly missed", "score", "none"]),
        ["label", "score", "right"],
    ]
    return {
        "rows": rows,
        "others": others,
        "audios": audios,
        "kinds": kinds,
        "labels": ["Dog", "Cat"],
    }


def test_the_lines_of_a_case_made_by_hand() -> None:
    name = 'tab\t"quotes"\nand 猫.wav'
    rows = [
        [0, 0, 0, 5, 6, 0.5, "a", 3, 8],  # right, its window is cut by the event at 7.5
        [0, 0, 1, 7.5, 9, 0.6, "b", 5.5, 11],  # without an answer
        [0, 0, 0, 20, 21, 0.7, "c", 18, 23],  # wrong, and an event is added
        [0, 1, 1, 30, 31, 0.8, "d", 28, 33],  # moved and of another class
        [0, 0, 0, 40, 41, 0.9, "e", 38, 43],  # inside of an event without a row
        [1, 0, 0, 1, 2, 0.9, "f", 0, 4],
    ]
    others = [[0, 0, 1, 37, 44], [0, 2, 1, 29, 30.5]]
    content = _content(rows, others, [[name, 0], ["clip.wav", 100]])
    answers = [
        [0, _answer("right", 5, 6, "Dog")],
        [2, _answer("wrong", 20, 21, "Dog", (22, 22.5, "Cat"))],
        [3, _answer("right", 30.25, 31, "Dog")],
        [4, _answer("right", 40, 41, "Dog")],
        [5, _answer("right", 1, 2, "Dog")],
    ]
    result = _node(SAVE, content, answers)
    quoted = 'tab\t""quotes""\nand 猫.wav'
    expected = [
        ["clip.wav", "101", "102", "Dog", "100", "104", "right", "101", "102", "Dog"],
        [f'"{quoted}"', "5", "6", "Dog", "3", "7.5", "right", "5", "6", "Dog"],
        [f'"{quoted}"', "", "", "", "18", "23", "wrong", "20", "21", "Dog"],
        [f'"{quoted}"', "22", "22.5", "Cat", "18", "23", "added", "20", "21", "Dog"],
        [f'"{quoted}"', "30.25", "31", "Dog", "28", "33", "changed", "30", "31", "Cat"],
        [f'"{quoted}"', "29", "30.5", "Cat", "28", "33", "known", "30", "31", "Cat"],
        [f'"{quoted}"', "40", "41", "Dog", "40", "40", "right", "40", "41", "Dog"],
    ]
    assert result["text"] == "".join("\t".join(row) + "\n" for row in [list(COLUMNS), *expected])
    assert result["unknown"] == 0
    assert all(before == after for before, after in result["same"])


def test_random_answers_give_the_seconds_that_no_open_event_has() -> None:
    """Compared with a slow reference on a grid of 0.1 s, and read back."""
    random = np.random.default_rng(1)
    rows: list[list[Any]] = []
    answers: list[tuple[int, Any]] = []
    open_time = np.zeros((2, 600), bool)
    windows = np.zeros((2, 600), bool)
    for index in range(60):
        audio, kind = int(random.integers(2)), int(random.random() < 0.2)
        onset = int(random.integers(0, 560))
        offset = onset + int(random.integers(1, 30))
        window = max(0, onset - 20), min(600, offset + 20)
        times = [each / 10 for each in (onset, offset)]
        rows.append([audio, kind, 0, *times, 0.5, "x", *(each / 10 for each in window)])
        verdict = str(random.choice(["", "right", "wrong"]))
        if verdict:
            answers.append((index, _answer(verdict, times[0], times[1], "Dog")))
            windows[audio, window[0] : window[1]] = True
        elif not kind:
            open_time[audio, onset:offset] = True
    result = _node(SAVE, _content(rows, [], [["a", 0], ["b", 0]]), answers)
    reviewed = np.zeros((2, 600), bool)
    events = set()
    for line in result["text"].splitlines()[1:]:
        fields = line.split("\t")
        begin, end = (round(10 * float(time)) for time in fields[4:6])
        reviewed["ab".index(fields[0]), begin:end] = True
        if fields[1]:
            events.add((fields[0], float(fields[1]), float(fields[2])))
    assert (reviewed == windows & ~open_time).all()
    right = [rows[index] for index, answer in answers if answer["verdict"] == "right"]
    assert events == {("ab"[row[0]], row[3], row[4]) for row in right}
    assert all(before == after for before, after in result["same"])


def test_tables_of_another_page_and_other_files() -> None:
    content = _content([[0, 0, 0, 5, 6, 0.5, "a", 3, 8]], [], [["x.wav", 0]])
    read = """
        const rows = page.readContent(given[0]).rows;
        try {
            const {answers, unknown} = page.readTable(given[1], rows);
            return [answers.size, unknown];
        } catch (error) {
            return error.message;
        }
    """
    header = "\t".join(COLUMNS)
    line = "x.wav\t5\t6\tDog\t3\t8\tright\t5\t6\tDog"
    assert _node(read, content, f"\ufeff{header}\r\n{line}\r\n") == [1, 0]
    assert _node(read, content, f"{header}\n{line.replace('x.wav', 'y.wav')}\n") == [0, 1]
    assert "missing column" in _node(read, content, "filename\tonset\toffset\tevent_label\n")
    assert "missing column" in _node(read, content, "")


def test_names_of_new_classes() -> None:
    names = ["Fox", "Großer Hund 猫", "", " Fox", "a,b", "a\tb", "None", "onset"]
    problems = _node("return given[0].map(page.nameProblem)", names)
    assert [bool(problem) for problem in problems] == [False, False, *[True] * 6]
