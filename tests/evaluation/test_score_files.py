from pathlib import Path

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import THRESHOLDS, detect_many, read_scores, write_scores
from tests.evaluation import cases

NAMES = ["Y_b-1.5_2.0.wav", "a.wav"]


def some_scores(n_frames: int = 156) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((2, 4, n_frames)).astype(np.float32) ** 4


def test_float32_scores_come_back_by_name(tmp_path: Path) -> None:
    scores = some_scores()
    write_scores(tmp_path / "raw", scores, NAMES, cases.CLASSES, cases.GRID)
    read = read_scores(tmp_path / "raw", cases.CLASSES, cases.GRID)
    assert read.stems == ["Y_b-1.5_2.0", "a"]
    np.testing.assert_array_equal(read.scores.astype(np.float32), scores)


def test_scores_that_equal_a_threshold_decode_the_same_when_read_back(tmp_path: Path) -> None:
    scores = np.zeros((1, 4, 150), dtype=np.float32)
    scores[0, 0, 1::3] = THRESHOLDS
    write_scores(tmp_path / "s", scores, ["a"], cases.CLASSES, cases.GRID)
    read = read_scores(tmp_path / "s", cases.CLASSES, cases.GRID)
    before, after = (detect_many(s, THRESHOLDS, cases.GRID) for s in (scores, read.scores))
    assert len(before) > 50 * 49 / 2
    np.testing.assert_array_equal(before.level, after.level)
    np.testing.assert_array_equal(before.onset, after.onset)


def test_sed_scores_eval_reads_the_files(tmp_path: Path) -> None:
    from sed_scores_eval.base_modules.io import read_sed_scores

    scores = some_scores()
    write_scores(tmp_path / "s", scores, NAMES, cases.CLASSES, cases.GRID)
    frames = read_sed_scores(tmp_path / "s")
    assert list(frames) == ["Y_b-1.5_2.0", "a"]
    frame = frames["a"]
    assert list(frame.columns) == ["onset", "offset", *cases.CLASSES]
    assert frame["offset"].iloc[-1] == 9.984
    np.testing.assert_array_equal(
        frame[list(cases.CLASSES)].to_numpy().T.astype(np.float32), scores[1]
    )


def test_writing_replaces_what_an_earlier_run_wrote_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_scores(tmp_path / "s", some_scores(), NAMES, cases.CLASSES, cases.GRID)
    write_scores(tmp_path / "s", some_scores()[1:], ["c.wav"], cases.CLASSES, cases.GRID)
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "c.tsv"]


def test_writing_does_not_touch_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt: not a score file"):
        write_scores(tmp_path, some_scores(), NAMES, cases.CLASSES, cases.GRID)
    with pytest.raises(InputError, match="a file; a folder of score files"):
        write_scores(tmp_path / "thesis.txt", some_scores(), NAMES, cases.CLASSES, cases.GRID)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_writing_refuses_clips_that_share_a_file_and_shapes_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two clips named 'a'"):
        write_scores(tmp_path / "s", some_scores(), ["a", "a.wav"], cases.CLASSES, cases.GRID)
    with pytest.raises(ValueError, match="1 clips, 4 classes"):
        write_scores(tmp_path / "s", some_scores(), ["a"], cases.CLASSES, cases.GRID)
    assert not list(tmp_path.iterdir())


def test_columns_in_another_order_and_a_clip_that_ends_earlier(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(
        "onset\toffset\tDog\tCat\n0\t0.064\t0.1\t0.2\n0.064\t0.1\t0.3\t0.4\n"
    )
    (tmp_path / "b.tsv").write_text("onset\toffset\tCat\tDog\n0.0\t0.064\t0.5\t0.6\n")
    read = read_scores(tmp_path, ("Cat", "Dog"), cases.GRID)
    assert read.scores.tolist() == [[[0.2, 0.4], [0.1, 0.3]], [[0.5, -np.inf], [0.6, -np.inf]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\toffset\tGoat\n0\t0.064\t1\n", "line 1: columns onset, offset, Goat; tab-sep"),
        ("onset,offset,Cat\n0,0.064,1\n", "line 1: columns onset,offset,Cat"),
        ("onset\toffset\tCat\n0\t0.064\n", "rows of 3 numbers"),
        ("onset\toffset\tCat\n0\t0.064\thigh\n", "rows of 3 numbers"),
        ("onset\toffset\tCat\n", "no frame"),
        ("onset\toffset\tCat\n0\t0.064\t1\n0.128\t0.192\t1\n", "line 3: frame 0.128 to 0.192 s"),
        ("onset\toffset\tCat\n0\t0.064\t1\n0.064\t0.128\tnan\n", "line 3: a score that is not"),
        ("onset\toffset\tCat\n0\t0.02\t1\n0.02\t0.04\t1\n", "line 2: frame 0 to 0.02 s; 0 to 0.06"),
    ],
)
def test_files_that_are_not_right_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=rf"a\.tsv: {message}"):
        read_scores(tmp_path, ("Cat",), cases.GRID)


def test_folders_that_are_not_right(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_scores(tmp_path / "nowhere", cases.CLASSES, cases.GRID)
    with pytest.raises(InputError, match="no score file"):
        read_scores(tmp_path, cases.CLASSES, cases.GRID)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(InputError, match=r"a\.csv: not a score file"):
        read_scores(tmp_path, cases.CLASSES, cases.GRID)
