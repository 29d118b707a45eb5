"""Bad options, keys and files: status 2, and one short message that names the place."""

import contextlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import train_sed
from desed_task.evaluation import GroundTruth
from desed_task.report.__main__ import main as evaluate
from local.config.data import KEYS
from local.config.load import Config, load_config, override_config
from tests.support.classes import CLASSES
from tests.support.paths import CONFS
from tests.support.readers import COLUMNS, table_readers
from tests.support.refusal import refusal

# ---- settings of the recipe -------------------------------------------------------------------


def without(*sets: str) -> str:
    """Overrides that remove sets."""
    return " ".join(f"data.{key}=null" for name in sets for key in KEYS[name] if key is not None)


# Overrides, and the key that the message names.
SETTINGS = {
    "training.n_epoch=3": "training.n_epoch",
    "trainin.n_epochs=3": "trainin",
    "opt.momentum=1": "opt.momentum",
    "training.batch_size=[6, 0, 12]": "training.batch_size.1",
    "training.batch_size=[6, 6]": "training.batch_size",
    "training.batch_size=[6, 6, 12, 6, 6]": "training.batch_size",
    "training.batch_size=0": "training.batch_size",
    "training.batch_size_val=0": "training.batch_size_val",
    "training.n_epochs=ten": "training.n_epochs",
    "training.n_epochs=2.5": "training.n_epochs",
    "training.n_epochs.last=2": "training.n_epochs",
    "training.mean_teacher=1": "training.mean_teacher",
    "training.precision=16": "training.precision",
    "training.train_sets=[real]": "training.train_sets.0",
    "training.train_sets=[weak, weak]": "training.train_sets",
    "training.train_sets=[unlabelled]": "training.train_sets",
    "training.ema_factor=1.5": "training.ema_factor",
    "training.validation_interval=3": "training.validation_interval",
    "training.freeze=[backbone, sed_fusion, sed_rnn, strong_head]": "training.freeze",
    "training.freeze=[backbone, backbone]": "training.freeze",
    "training.freeze=[sod_rnn] net.sod_branch=false": "training.freeze",
    "training.freeze=[encoder]": "training.freeze.0",
    "scaler.statistic=dataset": "scaler.normtype",
    "scaler.dims=[1, 1]": "scaler.dims",
    "data.eval_tsv=a.tsv": "data.eval_folder",
    "data.eval_folder_44k=a": "data.eval_folder",
    "data.root=null": "data.root",
    "data.weak_tsv=null": "data.weak_tsv",
    "data.unlabeled_folder=null": "data.unlabeled_folder",
    "data.synth_folder=null data.synth_tsv=null": "data.synth_folder",
    "data.strong_tsv=a.tsv": "data.strong_folder",
    without("synthetic", "weak"): "training.train_sets",
    without("synthetic", "weak", "unlabelled"): "training.train_sets",
    f"training.train_sets=[weak] {without('weak')}": "training.train_sets",
    (
        "training.train_sets=[synthetic, weak, unlabelled, strong] "
        "data.strong_folder=a data.strong_tsv=a.tsv"
    ): "training.batch_size",
    f"postprocess.methods=[median, sebbs] {without('synthetic validation')}": "postprocess.methods",
    "data.audio_max_len=0.05": "feats.n_window",
    "feats.f_max=9000": "feats.f_max",
    "feats.f_min=8000": "feats.f_min",
    "feats.n_mels=100": "net.subspectral_bands",
    "feats.hop_length=4096": "feats.hop_length",
    "feats.log_range=[80, -50]": "feats.log_range",
    "net.sed_pooling=[[1, 2], [1, 1]]": "net.sed_pooling",
    "net.sed_pooling=[[2, 2], [1, 2]]": "net.sed_pooling",
    "net.sed_pooling=[[1, 3], [1, 1]]": "net.sed_pooling",
    "net.pooling=[[2, 2]]": "net.pooling",
    "net.kernel_size=[3, 3, 4, 3, 3]": "net.kernel_size",
    "net.subspectral_blocks=6": "net.subspectral_blocks",
    "net.dropout=1.0": "net.dropout",
    "net.dropout=0.999": "net.dropout",
    "net.rnn_layers=1 net.dropout_recurrent=0.1": "net.dropout_recurrent",
    "augs.aug_methods=[Echo]": "augs.aug_methods.0",
    "augs.aug_methods=[Filter, Filter]": "augs.aug_methods",
    "augs.aug_methods=[Filter] augs.filter_bands=[2, 129]": "augs.filter_bands",
    "augs.aug_methods=[Frequency mask] augs.frequency_mask=26": "augs.frequency_mask",
    "augs.mixup=soft": "augs.mixup",
    "augs.mixup_scale=[2, 1]": "augs.mixup_scale",
    "augs.time_shift=0.3": "augs.time_shift",
    "augs.pitch_shift=500": "augs.pitch_shift",
    "losses.self_consistency_active=0.01": "losses.self_consistency_inactive",
    "losses.sod=-1": "losses.sod",
    "losses.sod=.nan": "losses.sod",
    f"cross_task.excluded_classes=[{', '.join(CLASSES)}]": "cross_task.excluded_classes",
    "cross_task.excluded_classes=[Dish]": "cross_task.excluded_classes",
    "data.classes=[]": "data.classes",
    "data.classes=[Cat, Cat]": "data.classes",
    "data.classes=[Cat, 'Dog,Speech']": "data.classes.1",
    "data.classes=[Cat, ' Dog']": "data.classes.1",
    'data.classes=["a\\tb"]': "data.classes.0",
    'data.classes=["a\\u2028b"]': "data.classes.0",
    "data.classes=[Onset, onset]": "data.classes.1",
    "data.classes=[None, Cat]": "data.classes.0",
    "data.classes=[Cat, Dog]": "cross_task.excluded_classes",
    "data.classes=[Dishes, Cat]": "postprocess.median_window",
    "postprocess.median_window.Plates=3": "postprocess.median_window",
    "postprocess.median_window=!replace {Cat: 3}": "postprocess.median_window",
    "postprocess.median_window.Cat=0": "postprocess.median_window.Cat",
    "postprocess.methods=!replace [median]": "postprocess.methods=!replace [median]",
}


@pytest.mark.parametrize("text", SETTINGS)
def test_a_bad_setting_is_refused_with_its_key(
    text: str, recipe: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = re.split(r" (?=[a-z_]+\.\w+=)", text)
    message = refusal(partial(override_config, recipe, settings), capsys)
    assert message.startswith("--set ")
    assert f" {SETTINGS[text]}: " in message
    assert "expected " in message or "unknown key (did you mean " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("training.n_epoch=3", "n_epochs"),
        ("trainin.n_epochs=3", "training"),
        ("cross_task.excluded_classes=[Dish]", "Dishes"),
    ],
)
def test_a_mistyped_name_is_corrected(
    setting: str, hint: str, recipe: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(partial(override_config, recipe, [setting]), capsys)
    assert re.search(rf"did you mean {hint}\?", message)


# Content of mine.yaml, and the place that the message names.
CONFIGURATIONS = {
    "extends: sed.yaml\nopt: {lr: 0.001, momentum: 1}": "mine.yaml:2: opt.momentum",
    "extends: sed.yaml\nnet:\n  dropout: 0.1\n  rnn_layer: 1": "mine.yaml:4: net.rnn_layer",
    "extends: sed.yaml\noptimiser: {lr: 0.001}": "mine.yaml:2: optimiser",
    "extends: sed.yaml\ntraining:\n  n_epochs: 201\n  validation_interval: 2\n  seed: 3": (
        "mine.yaml:4: training.validation_interval"
    ),
    "extends: sed.yaml\nfeats:\n  n_mels: 100\n  f_min: 50": "mine.yaml:3: net.subspectral_bands",
    "extends: sed.yaml\nopt: {lr: 0.001}\nopt: {lr: 0.1}": "mine.yaml:3",
    "extends: sed.yaml\nopt: [": "mine.yaml:2",
    "extends: nowhere.yaml": "mine.yaml:1: extends",
    "extends: mine.yaml": "mine.yaml:1: extends",
    "extends: 3": "mine.yaml:1: extends",
    "extends: sed.yaml\nopt: {lr: 2024-13-45}": "mine.yaml:2: opt.lr",
    "extends: sed.yaml\ndata: {test_folder: null}": "mine.yaml:2: data.test_folder",
    "{[1, 2]: 3}": "mine.yaml",
    "- a list": "mine.yaml",
    "opt: {lr: 0.001, betas: [0.9, 0.999]}": "mine.yaml: training",
    "extends: sed.yaml\nopt: 3": "mine.yaml:2: opt",
    "extends: sed.yaml\npostprocess: {median_window: null}": (
        "mine.yaml:2: postprocess.median_window"
    ),
}


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_bad_configuration_is_refused_with_file_line_and_key(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(partial(load_config, path), capsys)
    assert message.startswith(f"{path.with_name(CONFIGURATIONS[text])}: ")


# ---- tables -----------------------------------------------------------------------------------

STRONG, WEAK, DURATIONS = (f"{COLUMNS[kind]}\n" for kind in ("strong", "weak", "durations"))
SCORES = "onset\toffset\tDog\tCat\n"
TRUTH = GroundTruth(("Dog", "Cat"), {"a.wav": []}, {"a.wav": 10.0})
READERS = table_readers(TRUTH)
# Situation: reader, content of the file, what the message names after the file.
TABLES: dict[str, tuple[str, str | bytes, str]] = {
    "an empty file": ("strong", "", ": no rows"),
    "column names without rows": ("strong", STRONG, ": no rows"),
    "no column names": ("strong", "a.wav\t0\t1\tDog\nb.wav\t0\t1\tDog\n", ":1: missing columns"),
    "a column twice": (
        "strong",
        "filename\tonset\tonset\toffset\tevent_label\na.wav\t0\t0\t1\tDog",
        ":1: repeated column onset",
    ),
    "commas for tabs": ("strong", STRONG + "a.wav,0,1,Dog\n", ":2: number of fields"),
    "a field too few": ("strong", STRONG + "a.wav\t0\t1\n", ":2: number of fields"),
    "an unmatched quotation mark": ("strong", STRONG + '"a.wav\t0\t1\tDog\n', ":2: quotation"),
    "Latin-1 for UTF-8": ("strong", STRONG.encode() + b"\xe4.wav\t0\t1\tDog\n", ": cannot be read"),
    "a time that is a word": ("strong", STRONG + "a.wav\tstart\t1\tDog\n", ":2: onset"),
    "a decimal comma": ("strong", STRONG + "a.wav\t0,5\t1\tDog\n", ":2: onset"),
    "an infinite offset": ("strong", STRONG + "a.wav\t0\tinf\tDog\n", ":2: offset"),
    "a missing onset": ("strong", STRONG + "a.wav\t\t1\tDog\n", ":2: onset"),
    "an onset at the clip's end (milliseconds)": (
        "strong",
        STRONG + "a.wav\t10\t11\tDog\n",
        ":2: onset",
    ),
    "a missing class": ("strong", STRONG + "a.wav\t0\t1\t\n", ":2: unknown class"),
    "a missing name": ("strong", STRONG + "\t0\t1\tDog\n", ":2: filename"),
    "an onset below 0": ("strong", STRONG + "a.wav\t-1\t1\tDog\n", ":2: onset"),
    "an offset at the onset": ("strong", STRONG + "a.wav\t1\t1\tDog\n", ":2: offset"),
    "milliseconds for seconds": ("strong", STRONG + "a.wav\t1500\t2500\tDog\n", ":2: onset"),
    "a mistyped class": ("strong", STRONG + "a.wav\t0\t1\tDogs\n", ":2: unknown class"),
    "another language's class": ("strong", STRONG + "a.wav\t0\t1\tHund\n", ":2: unknown class"),
    "a file name without .wav": ("strong", STRONG + "a.mp3\t0\t1\tDog\n", ":2: filename"),
    "ten wrong rows": ("strong", STRONG + "a.wav\t2\t1\tDog\n" * 10, ": 10 problems"),
    "a mistyped tag": ("weak", WEAK + "a.wav\tDog,Catt\n", ":2: unknown class"),
    "tags with a comma at the end": ("weak", WEAK + "a.wav\tDog,\n", ":2: unknown class"),
    "tags separated by semicolons": ("weak", WEAK + "a.wav\tDog;Cat\n", ":2: unknown class"),
    "a clip twice with other tags": ("weak", WEAK + "a.wav\tDog\na.wav\tCat\n", ":3: a.wav"),
    "events for tags": ("weak", STRONG + "a.wav\t0\t1\tDog\n", ":1: missing column event_labels"),
    "a duration of 0": ("durations", DURATIONS + "a.wav\t0\n", ":2: duration"),
    "a duration below 0": ("durations", DURATIONS + "a.wav\t-3\n", ":2: duration"),
    "a missing duration": ("durations", DURATIONS + "a.wav\t\n", ":2: duration"),
    "a duration with a unit": ("durations", DURATIONS + "a.wav\t10 s\n", ":2: duration"),
    "a clip twice with other durations": (
        "durations",
        DURATIONS + "a.wav\t10\na.wav\t9\n",
        ":3: a.wav",
    ),
    "a clip without ground truth": ("predictions", STRONG + "z.wav\t0\t1\tDog\n", ":2: filename"),
    "a folder before a clip's name": (
        "predictions",
        STRONG + "audio/a.wav\t0\t1\tDog\n",
        ":2: filename",
    ),
    "predictions in milliseconds": ("predictions", STRONG + "a.wav\t500\t900\tDog\n", ":2: onset"),
    "predictions of a mistyped class": (
        "predictions",
        STRONG + "a.wav\t0\t1\tDgo\n",
        ":2: unknown class",
    ),
    "predictions without times": (
        "predictions",
        "filename\tevent_label\na.wav\tDog\n",
        ":1: missing columns onset, offset",
    ),
    "scores without frames": ("scores", SCORES, ":1: no frame"),
    "scores of another class": (
        "scores",
        SCORES.replace("Cat", "Cow") + "0\t10\t0\t0\n",
        ":1: columns",
    ),
    "scores without a class": ("scores", "onset\toffset\tDog\n0\t10\t0\n", ":1: columns"),
    "a class twice": ("scores", "onset\toffset\tDog\tDog\tCat\n0\t10\t0\t0\t0\n", ":1: columns"),
    "a score that is NaN": ("scores", SCORES + "0\t10\t0\tnan\n", ":2: score of Cat"),
    "a score that is a word": ("scores", SCORES + "0\t10\t0\thigh\n", ":2: row"),
    "scores that begin late": ("scores", SCORES + "1\t10\t0\t0\n", ":2: frame"),
    "a gap between frames": ("scores", SCORES + "0\t4\t0\t0\n6\t10\t0\t0\n", ":3: frame"),
    "scores that end early": ("scores", SCORES + "0\t2\t0\t0\n2\t4\t0\t0\n", ":3: end"),
    "frames in milliseconds": (
        "scores",
        SCORES + "0\t5000\t0\t0\n5000\t10000\t0\t0\n",
        ":3: offset",
    ),
}


@pytest.mark.parametrize("situation", TABLES)
def test_a_bad_table_is_refused_with_file_line_and_column(
    situation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, content, place = TABLES[situation]
    path = tmp_path / ("a.tsv" if kind == "scores" else f"{kind}.tsv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    message = refusal(partial(READERS[kind], path), capsys)
    assert message.startswith(f"{path}{place}")
    assert ("milliseconds" in situation) == ("(milliseconds?)" in message)
    mistyped = "mistyped" in situation or situation == "tags separated by semicolons"
    assert (mistyped or "folder" in situation) == ("did you mean" in message)


# ---- command lines ----------------------------------------------------------------------------

GIVEN = ["--ground_truth", "truth.tsv", "--durations", "durations.tsv", "--output", "out"]
PREDICTED = [*GIVEN, "--predictions", "truth.tsv"]
# Arguments, and what the message names; in a folder with truth.tsv, durations.tsv, notes.txt and
# an empty folder.
TRAINING: tuple[tuple[list[str], str], ...] = (
    (["--conf_file", "nowhere.yaml"], "nowhere.yaml"),
    (["--conf_file", "empty"], "empty"),
    (["--conf_file", "~no_such_user/conf.yaml"], "~no_such_user/conf.yaml"),
    (["--log_dir", ""], "path"),
    (["--log_dir", "notes.txt"], "--log_dir notes.txt"),
    (["--set", "training.n_epochs"], "--set training.n_epochs"),
    (["--set", "opt.lr=1", "training.seed=2"], "--set opt.lr=1 --set training.seed=2"),
    (["--set", "opt.betas=[0,", "0.9]"], "--set 'opt.betas=[0, 0.9]'"),
    (["--set", "data.weak_folder=null"], "data.weak_folder"),
    (["--gpus", "-1"], "--gpus"),
    (["--gpus", "two"], "--gpus"),
    (["--epochs", "3"], "--epochs 3"),
    (["--test_from_checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
    (["--test_from_checkpoint", "notes.txt"], "notes.txt"),
    (["--test_from_checkpoint", "empty"], "empty"),
    (["--resume_from_checkpoint", "last", "--log_dir", "empty"], "--log_dir empty"),
    (["--resume_from_checkpoint", "a", "--test_from_checkpoint", "b"], "--test_from_checkpoint"),
    (["--resume_from_checkpoint", "a", "--fast_dev_run"], "--fast_dev_run"),
    (["--resume_from_checkpoint", "a", "--init_from_checkpoint", "b"], "--init_from_checkpoint"),
    (["--test_from_checkpoint", "a", "--init_from_checkpoint", "b"], "--init_from_checkpoint"),
)
EVALUATION: tuple[tuple[list[str], str], ...] = (
    ([], "--ground_truth"),
    (GIVEN, "--scores"),
    ([*GIVEN, "--scores", "nowhere"], "nowhere"),
    ([*GIVEN, "--scores", "empty"], "empty"),
    ([*GIVEN, "--scores", "notes.txt"], "notes.txt"),
    ([*GIVEN, "--operating_points", "empty"], "empty"),
    ([*GIVEN, "--predictions", "nowhere.tsv"], "nowhere.tsv"),
    ([*GIVEN, "--predictions", "notes.txt"], "notes.txt"),
    ([*GIVEN, "--system", "mine"], "--system mine"),
    ([*GIVEN, "--system", "a/b=truth.tsv"], "--system a/b=truth.tsv"),
    ([*GIVEN, "--system", "mine=empty"], "empty"),
    ([*GIVEN, "--system", "mine=truth.tsv", "--system", "mine=truth.tsv"], "--system mine"),
    ([*PREDICTED, "--classes", "Dog,Dog"], "--classes Dog,Dog"),
    ([*PREDICTED, "--classes", "Speech"], "truth.tsv:2"),
    ([*PREDICTED, "--f1_threshold", "1.5"], "--f1_threshold"),
    ([*PREDICTED, "--bootstrap", "-1"], "--bootstrap"),
    ([*PREDICTED, "--audio", "nowhere"], "--audio nowhere"),
    ([*GIVEN[:4], "--output", "notes.txt", "--predictions", "truth.tsv"], "--output notes.txt"),
)


@pytest.mark.parametrize(
    ("main", "arguments", "named"),
    [
        *((train_sed.main, *case) for case in TRAINING),
        *((evaluate, *case) for case in EVALUATION),
    ],
)
def test_a_bad_command_line_is_refused_with_the_option_or_file(
    main: Callable[[list[str]], int],
    arguments: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "confs").symlink_to(CONFS)
    (tmp_path / "notes.txt").write_text("my notes\n")
    (tmp_path / "truth.tsv").write_text(STRONG + "a.wav\t0\t1\tDog\na.wav\t2\t3\tCat\n")
    (tmp_path / "durations.tsv").write_text(DURATIONS + "a.wav\t10\n")
    with contextlib.chdir(tmp_path):
        assert named in refusal(partial(main, arguments), capsys)
