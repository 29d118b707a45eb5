from pathlib import Path

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    Scores,
    detect_many,
    read_scores,
    write_scores,
)
from desed_task.evaluation.decode import frame_times
from tests.support import cases
from tests.support.required import require_package

NAMES = ["Y_b-1.5_2.0.wav", "a.wav"]
HEADER = "onset\toffset\tCat\n"


def silent(
    *names: str, classes: tuple[str, ...] = cases.CLASSES, seconds: float = 10.0
) -> GroundTruth:
    """A truth of clips in which nothing happens."""
    return cases.truth_of({name: [] for name in names}, seconds, classes)


def write_clip(path: Path, edges: list[float], scores: list[float]) -> None:
    rows = zip(edges[:-1], edges[1:], scores, strict=True)
    path.write_text(HEADER + "".join(f"{a}\t{b}\t{score}\n" for a, b, score in rows))


def some_scores(n_frames: int = 156) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((2, 4, n_frames)).astype(np.float32) ** 4


def test_float32_scores_come_back_with_the_truth_s_names_and_order(tmp_path: Path) -> None:
    scores = some_scores()
    write_scores(tmp_path / "raw", Scores(scores, NAMES, cases.GRID), cases.CLASSES)
    read = read_scores(tmp_path / "raw", silent("a.wav", "other.wav", NAMES[0]))
    assert list(read.names) == ["a.wav", NAMES[0]]
    np.testing.assert_array_equal(read.values.astype(np.float32), scores[::-1])


@pytest.mark.parametrize("n_frames", [156, 157])  # 157: the last frame is cut at 10 s
def test_what_we_write_comes_back_on_the_grid_s_edges(tmp_path: Path, n_frames: int) -> None:
    write_scores(tmp_path / "s", Scores(some_scores(n_frames), NAMES, cases.GRID), cases.CLASSES)
    read = read_scores(tmp_path / "s", silent(*NAMES))
    assert isinstance(read.axis, np.ndarray)
    np.testing.assert_array_equal(read.axis, frame_times(cases.GRID, n_frames))


def test_scores_that_equal_a_threshold_decode_the_same_when_read_back(tmp_path: Path) -> None:
    scores = np.zeros((1, 4, 156), dtype=np.float32)
    scores[0, 0, 1:150:3] = THRESHOLDS
    write_scores(tmp_path / "s", Scores(scores, ["a"], cases.GRID), cases.CLASSES)
    read = read_scores(tmp_path / "s", silent("a"))
    assert read.names == ("a",)
    before, after = detect_many(scores, THRESHOLDS, cases.GRID), read.detect(THRESHOLDS)
    assert len(before) > 50 * 49 / 2
    np.testing.assert_array_equal(before.level, after.level)
    np.testing.assert_array_equal(before.onset, after.onset)
    np.testing.assert_array_equal(before.offset, after.offset)


def test_sed_scores_eval_reads_the_files(tmp_path: Path) -> None:
    require_package("sed_scores_eval")
    from sed_scores_eval.base_modules.io import read_sed_scores

    scores = some_scores()
    write_scores(tmp_path / "s", Scores(scores, NAMES, cases.GRID), cases.CLASSES)
    frames = read_sed_scores(tmp_path / "s")
    assert list(frames) == ["Y_b-1.5_2.0", "a"]
    frame = frames["a"]
    assert list(frame.columns) == ["onset", "offset", *cases.CLASSES]
    assert frame["offset"].iloc[-1] == 9.984
    np.testing.assert_array_equal(
        frame[list(cases.CLASSES)].to_numpy().T.astype(np.float32), scores[1]
    )


def test_writing_replaces_what_an_earlier_run_wrote_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_scores(tmp_path / "s", Scores(some_scores(), NAMES, cases.GRID), cases.CLASSES)
    write_scores(tmp_path / "s", Scores(some_scores()[1:], ["c.wav"], cases.GRID), cases.CLASSES)
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "c.tsv"]


def test_writing_does_not_touch_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt: expected only score files"):
        write_scores(tmp_path, Scores(some_scores(), NAMES, cases.GRID), cases.CLASSES)
    with pytest.raises(InputError, match="expected a folder of score files, got a file"):
        write_scores(
            tmp_path / "thesis.txt", Scores(some_scores(), NAMES, cases.GRID), cases.CLASSES
        )
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../a.wav", "/tmp/a.wav", "b/../../a", "a\0.wav"])
def test_no_clip_name_leads_outside_the_folder(name: str, tmp_path: Path) -> None:
    names = [name, *NAMES[1:]]
    with pytest.raises(InputError, match="out: expected clip names without folders, got '"):
        write_scores(tmp_path / "out", Scores(some_scores(), names, cases.GRID), cases.CLASSES)
    assert not list(tmp_path.iterdir())


def test_writing_refuses_clips_that_share_a_file_and_wrong_shapes(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected a score file for each clip, got two clips for a\.tsv"
    ):
        write_scores(
            tmp_path / "s", Scores(some_scores(), ["a", "a.wav"], cases.GRID), cases.CLASSES
        )
    with pytest.raises(ValueError, match="expected 5 classes, got 4"):
        write_scores(
            tmp_path / "s",
            Scores(some_scores(), NAMES, cases.GRID),
            (*cases.CLASSES, "Cow"),
        )
    assert not list(tmp_path.iterdir())


def test_columns_in_another_order_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeffonset\toffset\tDog\tCat\r\n0\t5\t0.1\t0.2\r\n5\t10\t0.3\t0.4\r\n"
    (tmp_path / "a.tsv").write_bytes(text.encode())
    read = read_scores(tmp_path, silent("a.wav", classes=("Cat", "Dog")))
    assert read.values.tolist() == [[[0.2, 0.4], [0.1, 0.3]]]


def test_quoted_fields_and_hidden_files(tmp_path: Path) -> None:
    text = '"onset"\t"offset"\t"Dog, big"\n"0"\t"5"\t"0.1"\n5\t10\t0.3\n'
    (tmp_path / "a.tsv").write_text(text)
    for hidden in ("._a.tsv", ".DS_Store"):
        (tmp_path / hidden).write_bytes(b"\0\xff")
    read = read_scores(tmp_path, silent("a.wav", classes=("Dog, big",)))
    assert read.values.tolist() == [[[0.1, 0.3]]]
    (tmp_path / "a.tsv").write_text('onset\toffset\t"Cat\n0\t5\t1\n')
    with pytest.raises(InputError, match=r"a\.tsv:1: quotation marks: expected pairs"):
        read_scores(tmp_path, silent("a.wav", classes=("Cat",)))


def test_times_in_milliseconds_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.tsv", [0, 64, 128, 9984], [1, 2, 3])
    message = r"a\.tsv:4: offset: expected about the longest clip's 10 s .* 9984 \(milliseconds"
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path, silent("a.wav", classes=("Cat",)))


def test_any_time_axis_and_any_finite_score(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.tsv", [0, 0.5, 0.7, 9.7], [-3.5, float("-inf"), 12])
    read = read_scores(tmp_path, silent("a.wav", classes=("Cat",)))
    np.testing.assert_array_equal(read.axis, [0, 0.5, 0.7, 9.7])
    assert read.values.tolist() == [[[-3.5, -np.inf, 12]]]
    events = read.detect([0.5])
    assert (events.onset.tolist(), events.offset.tolist()) == ([0.7], [9.7])


@pytest.mark.parametrize(
    "short",
    [[0, 1, 2], [0, 1, 1.75], [0, 1, 2.25], [0, 0.5, 2]],
    ids=["same frames", "last frame cut", "last frame longer", "other frames"],
)
def test_clips_of_other_lengths_have_their_own_edges(tmp_path: Path, short: list[float]) -> None:
    write_clip(tmp_path / "long.tsv", [0, 1, 2, 3], [1, 2, 3])
    write_clip(tmp_path / "short.tsv", short, [4, 5])
    read = read_scores(tmp_path, silent("short.wav", "long.wav", classes=("Cat",), seconds=2))
    np.testing.assert_array_equal(read.axis, [[*short, short[-1]], [0, 1, 2, 3]])
    assert read.values.tolist() == [[[4, 5, -np.inf]], [[1, 2, 3]]]
    assert read.detect([0.5]).offset.tolist() == [short[-1], 3]


def test_clips_of_as_many_frames_but_other_lengths_have_their_own_edges(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.tsv", [0, 1, 2], [1, 2])
    write_clip(tmp_path / "b.tsv", [0, 1, 1.5], [1, 2])
    read = read_scores(tmp_path, silent("a.wav", "b.wav", classes=("Cat",), seconds=2))
    np.testing.assert_array_equal(read.axis, [[0, 1, 2], [0, 1, 1.5]])


def test_rounded_times_are_closed(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(HEADER + "1e-7\t3.3333333\t1\n3.3333329\t10\t2\n")
    read = read_scores(tmp_path, silent("a.wav", classes=("Cat",)))
    np.testing.assert_array_equal(read.axis, [0, 3.3333329, 10])


def test_a_clip_s_end_may_lack_one_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.tsv", [0, 0.5, 1.0], [1, 2])
    assert read_scores(tmp_path, silent("a.wav", classes=("Cat",), seconds=1.5)).names == ("a.wav",)
    message = (
        r"a\.tsv:3: end of the last frame: expected 1\.51 s \(the clip's\) or at most one frame "
        r"\(0\.5 s\) earlier, got 1 s"
    )
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path, silent("a.wav", classes=("Cat",), seconds=1.51))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "onset,offset,Cat\n0,1,1\n",
            "1: columns: expected onset, offset, Cat, separated by tabs, got onset,offset,Cat; mis",
        ),
        (
            "Cat\tonset\toffset\n1\t0\t1\n",
            "1: columns: expected onset, offset, Cat, .*, got Cat, onset, offset$",
        ),
        ("onset\toffset\tCat\tCat\n0\t1\t1\t1\n", "1: columns: .*; repeated Cat$"),
        (HEADER + "0\t1\n", r"2: row: expected 3 numbers separated by tabs, got '0\\t1'"),
        (HEADER + "0\t1\t1\n1,2,1\n", "3: row: expected 3 numbers separated by tabs, got '1,2,1'"),
        (HEADER + "0\t1\t1\n1 2 1\n", "3: row: expected 3 numbers separated by tabs, got '1 2 1'"),
        (HEADER + "0\t1\t1\n\n1\t2\t1\n", "3: row: expected 3 numbers separated by tabs, got ''"),
        (
            HEADER + "0\t1\thigh\n",
            r"2: row: expected 3 numbers separated by tabs, got '0\\t1\\thigh'",
        ),
        (HEADER + "0\t1\t1\t1\n1\t2\n", "2: row: expected 3 numbers separated by tabs, got"),
        (HEADER, "1: no frame: expected at least one row"),
        ("", "1: no frame: expected at least one row"),
        (
            HEADER + "0\t1\t1\n2\t3\t1\n",
            "3: frame: expected from 1 s to a later time, got from 2 to 3 s",
        ),
        (HEADER + "0\t1\t1\n0.5\t3\t1\n", "3: frame: expected from 1 s to .*, got from 0.5 to 3 s"),
        (HEADER + "0\t1\t1\n-1\t3\t1\n", "3: frame: expected from 1 s to .*, got from -1 to 3 s"),
        (
            HEADER + "0\t1\t1\n1.000002\t3\t1\n",
            "3: frame: expected from 1 s to .*, got from 1.000002 to 3 s",
        ),
        (
            HEADER + "0\t1\t1\n1\t1.0000001\t1\n0.9999999\t2\t1\n",
            "4: frame: expected from 1.0000001 s to .*, got from 0.9999999 to 2 s",
        ),
        (HEADER + "0.5\t1\t1\n", "2: frame: expected from 0 s to .*, got from 0.5 to 1 s"),
        (HEADER + "-1\t1\t1\n", "2: frame: expected from 0 s to .*, got from -1 to 1 s"),
        (
            HEADER + "0\t1\t1\n1\t1\t1\n",
            "3: frame: expected from 1 s to a later time, got from 1 to 1 s",
        ),
        (HEADER + "0\t-1\t1\n", "2: frame: .* got from 0 to -1 s"),
        (HEADER + "0\tinf\t1\n", "2: frame: .* got from 0 to inf s"),
        (HEADER + "0\t1\t1\nnan\t2\t1\n", "3: frame: .* got from nan to 2 s"),
        (HEADER + "0\t1\t1\n1\t2\tnan\n", "3: score of Cat: expected a number or -inf, got nan"),
        (HEADER + "0\t1\tinf\n1\t2\t0\n", "2: score of Cat: expected a number or -inf, got inf"),
    ],
)
def test_a_problem_is_reported_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=rf"a\.tsv:{message}"):
        read_scores(tmp_path, silent("a.wav", classes=("Cat",), seconds=1))


def test_missing_unknown_and_repeated_columns_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("onset\toffset\tGoat\tDog\tCow\tDog\n0\t1\t1\t1\t1\t1\n")
    faults = "missing Cat, Dishes, Speech; unknown Goat, Cow; repeated Dog"
    with pytest.raises(
        InputError, match=rf"a\.tsv:1: columns: expected .* got onset, .*, Dog; {faults}$"
    ):
        read_scores(tmp_path, silent("a.wav"))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"onset\toffset\tC\xff\n")
    with pytest.raises(InputError, match=r"a\.tsv: cannot be read as text"):
        read_scores(tmp_path, silent("a.wav"))


def test_clips_that_the_truth_does_not_know_or_that_have_two_files(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tsv"):
        write_clip(tmp_path / name, [0, 10], [1])
    with pytest.raises(InputError, match=r"b\.tsv: expected a clip of the ground truth, got b"):
        read_scores(tmp_path, silent("a.wav", classes=("Cat",)))
    write_clip(tmp_path / "a.wav.tsv", [0, 10], [1])
    with pytest.raises(
        InputError, match=r"clip 'a\.wav': expected one file, got a\.tsv, a\.wav\.tsv"
    ):
        read_scores(tmp_path, silent("a.wav", "b", classes=("Cat",)))


@pytest.mark.parametrize("names", [("a", "a.wav"), ("a.wav", "a")])
def test_an_exact_name_is_preferred_to_one_with_wav(tmp_path: Path, names: tuple[str, str]) -> None:
    write_clip(tmp_path / "a.tsv", [0, 10], [1])
    assert read_scores(tmp_path, silent(*names, classes=("Cat",))).names == ("a",)


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    truth = silent("a.wav")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_scores(tmp_path / "nowhere", truth)
    with pytest.raises(InputError, match=r"expected one CLIP\.tsv per clip, got no file"):
        read_scores(tmp_path, truth)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(InputError, match=r"a\.csv: expected only score files"):
        read_scores(tmp_path, truth)
    with pytest.raises(InputError, match=r"a\.csv: expected a folder of score files, got a file"):
        read_scores(tmp_path / "a.csv", truth)


def test_names_of_score_files_in_any_unicode_form(tmp_path: Path) -> None:
    write_clip(tmp_path / "Ba\u0308r.tsv", [0.0, 10.0], [0.5])
    read = read_scores(tmp_path, silent("B\u00e4r.wav", classes=("Cat",)))
    assert read.names == ("B\u00e4r.wav",)
