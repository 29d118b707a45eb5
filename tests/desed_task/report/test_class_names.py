"""Class names that are paths, formulas, markup or in another Unicode form."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from desed_task.dataio.annotations import read_strong, read_weak
from desed_task.errors import InputError
from desed_task.evaluation import Scores, evaluate
from desed_task.evaluation.score_files import read_scores, score_classes, write_scores
from desed_task.report import write_psd_rocs
from desed_task.tables import class_name
from local.config.load import load_config, stored_config
from tests.support import cases
from tests.support.paths import CONFS

NAMES = ("a/b", "../x", "$x$", "<b>", "100%", "/tmp/x")
COMPOSED, DECOMPOSED = "Z\u00e4hler", "Za\u0308hler"


def test_a_class_name_is_no_path(tmp_path: Path) -> None:
    truth = cases.truth_of({"a.wav": [(1.0, 3.0, name) for name in NAMES]}, classes=NAMES)
    values = cases.scores_of({"a.wav": [(16, 47, NAMES[0], 0.9)]}, classes=NAMES)
    folder = tmp_path / "run"
    write_scores(folder / "scores", Scores(values, ["a.wav"], cases.GRID), NAMES)
    assert score_classes(folder / "scores") == NAMES
    read = read_scores(folder / "scores", truth).values
    assert np.array_equal(read.astype(np.float32), values)
    metrics = evaluate(Scores(values, ["a.wav"], cases.GRID), truth)
    write_psd_rocs(folder, metrics, title="names")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    found = {str(path.parent.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {".", "scores"}
    assert [path.name for path in (folder / "scores").iterdir()] == ["a.tsv"]


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    assert unicodedata.normalize("NFC", DECOMPOSED) == COMPOSED
    file = "a\u0308.wav"
    strong, weak = tmp_path / "strong.tsv", tmp_path / "weak.tsv"
    strong.write_text(f"filename\tonset\toffset\tevent_label\n{file}\t0\t1\t{DECOMPOSED}\n")
    weak.write_text(f"filename\tevent_labels\n{file}\t{DECOMPOSED}\n")
    assert read_strong(strong, [COMPOSED]) == {"\u00e4.wav": [(0.0, 1.0, COMPOSED)]}
    assert read_weak(weak, [COMPOSED]) == {"\u00e4.wav": (COMPOSED,)}
    scores = np.full((1, 1, 2), 0.5, dtype=np.float32)
    write_scores(
        tmp_path / "scores", Scores(scores, ["b"], np.array([0.0, 5.0, 10.0])), [DECOMPOSED]
    )
    assert score_classes(tmp_path / "scores") == (COMPOSED,)
    truth = cases.truth_of({"b": []}, classes=(COMPOSED,))
    assert np.array_equal(read_scores(tmp_path / "scores", truth).values, scores)


def test_classes_of_a_configuration_are_normalised() -> None:
    own = ["cross_task.excluded_classes=[]", "postprocess.median_window=!replace {default: 7}"]
    config = load_config(CONFS / "demo.yaml", [f"data.classes=[{DECOMPOSED}, Cat]", *own])
    assert config.data.classes == (COMPOSED, "Cat")
    assert stored_config(config.plain(), "a checkpoint") == config  # no windows of the recipe
    with pytest.raises(InputError, match=r"data\.classes: expected distinct"):
        load_config(CONFS / "demo.yaml", [f"data.classes=[{DECOMPOSED}, {COMPOSED}]", *own])


def test_windows_of_a_class_are_given_once_and_replaced_in_any_form(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    head = (
        f"extends: demo.yaml\ndata:\n  classes: [{COMPOSED}]\ncross_task:\n  excluded_classes: []\n"
    )
    windows = f"postprocess:\n  median_window: !replace\n    {COMPOSED}: 3\n"
    path.write_text(head + windows, encoding="utf-8")
    config = load_config(path, [f"postprocess.median_window.{DECOMPOSED}=5"])
    assert config.postprocess.median_window == {COMPOSED: 5}
    path.write_text(f"{head}{windows}    {DECOMPOSED}: 5\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"own\.yaml:9: .* the key '{COMPOSED}' is given twice"):
        load_config(path)


@pytest.mark.parametrize(
    "name",
    ["", "a,b", " a", "a\n", "a\nb", "a\x85b", "a\u2029b", "\ud800", "offset", "filename", "NaN"],
)
def test_names_that_tables_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name "):
        class_name(name)


def test_other_names_are_kept() -> None:
    for name in ("A B", "a=b", '"a"', "a/b", "100%", "猫\u3000犬", "می\u200cزند", "🫩", "default"):
        assert class_name(name) == name
    assert class_name(DECOMPOSED) == COMPOSED
