"""Configurations: what loads, what is refused, and the message with file, line and key."""

import re
from pathlib import Path

import pytest
import yaml

from desed_task.errors import InputError
from local.config.load import load_config, override_config, stored_config
from local.config.schema import Config
from tests.support.classes import CLASSES
from tests.support.paths import CONFS


@pytest.fixture(scope="module")
def sed() -> Config:
    return load_config(CONFS / "sed.yaml")


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_recipe_values(sed: Config) -> None:
    config = sed
    assert config.grid.n_frames == 156
    assert config.median_windows == [3, 28, 7, 4, 7, 22, 48, 19, 10, 50]
    assert config.clips_per_set == {"synthetic": 6, "weak": 6, "unlabelled": 12}


def test_demo_changes_sizes_and_paths_only(sed: Config) -> None:
    demo, recipe = load_config(CONFS / "demo.yaml").model_dump(), sed.model_dump()
    for section in ("scaler", "augs", "losses", "cross_task", "postprocess"):
        if section == "postprocess":  # the recipe's method first, others beside it
            assert demo[section].pop("methods")[:1] == recipe[section].pop("methods")
            del demo[section]["bootstrap_replicates"], recipe[section]["bootstrap_replicates"]
            windows = [settings[section].pop("median_window") for settings in (demo, recipe)]
            for own, published in zip(*(each.values() for each in windows), strict=True):
                assert abs(2 * own - published) <= 1  # frames twice as long, to the nearest one
        assert demo[section] == recipe[section], section


def test_resolved_configuration_loads_again(tmp_path: Path, sed: Config) -> None:
    config = load_config(CONFS / "demo.yaml", ["opt.lr=0.002"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    assert load_config(path).digest == config.digest
    assert sed.digest != config.digest


REFUSED = {
    "training.n_epoch=3": "training.n_epoch: unknown key; did you mean `n_epochs`?",
    "trainin.n_epochs=3": "trainin: unknown key; did you mean `training`?",
    "opt.momentum=1": "opt.momentum: unknown key; expected one of lr, betas, scale_lr_with_ranks",
    "training.batch_size=[6, 0, 12]": (
        "training.batch_size.1: expected greater than or equal to 1, got 0"
    ),
    "training.batch_size=[6, 6]": "training.batch_size: expected at least 3 values, got [6, 6]",
    "training.batch_size=0": "training.batch_size: expected a valid list, got 0",
    "training.batch_size_val=0": "training.batch_size_val: expected greater than or equal to 1",
    "training.n_epochs=ten": "training.n_epochs: expected a valid integer, got 'ten'",
    "training.n_epochs=2.5": "training.n_epochs: expected a valid integer, got 2.5",
    "training.n_epochs.last=2": "expected a valid integer, got a section of 1 keys",
    "training.mean_teacher=1": "training.mean_teacher: expected a valid boolean, got 1",
    "training.precision=16": "expected 'auto', 32, '16-mixed' or 'bf16-mixed', got 16",
    "training.train_sets=[real]": (
        "training.train_sets.0: expected 'synthetic', 'weak' or 'unlabelled', got 'real'"
    ),
    "training.ema_factor=1.5": "training.ema_factor: expected less than 1, got 1.5",
    "scaler.statistic=dataset": (
        "scaler.normtype: expected 'standard' or 'mean' with statistic 'dataset', got 'minmax'"
    ),
    "scaler.dims=[1, 1]": "scaler.dims: expected distinct values, got [1, 1]",
    "data.eval_tsv=a.tsv": "data.eval_folder: expected a value in eval_folder, eval_tsv and",
    "data.eval_folder_44k=a": "data.eval_folder: expected a value in eval_folder, eval_tsv and",
    "feats.f_max=9000": "feats.f_max: expected at most half of data.fs 16000, got 9000",
    "feats.f_min=8000": "feats.f_min: expected less than f_max 8000, got 8000",
    "feats.n_mels=100": (
        "net.subspectral_bands: expected a divisor of 50, the bands that enter block 2, got 4"
    ),
    "feats.hop_length=4096": "feats.hop_length: expected at most feats.n_window 2048, got 4096",
    "feats.log_range=[80, -50]": "feats.log_range: expected [lowest, highest], got [80.0, -50.0]",
    "data.audio_max_len=0.05": (
        "data.audio_max_len: expected more than half of feats.n_window 2048 samples, got 800"
    ),
    "net.sed_pooling=[[1, 2], [1, 1]]": (
        "net.sed_pooling: expected pooling of feats.n_mels 128 bands to exactly 1, got 2"
    ),
    "net.sed_pooling=[[2, 2], [1, 2]]": "net.sed_pooling: expected [1, band], got",
    "net.pooling=[[2, 2]]": "net.pooling: expected 5 entries, one for each of nb_filters, got 1",
    "net.kernel_size=[3, 3, 4, 3, 3]": "net.kernel_size: expected odd sizes, got [3, 3, 4, 3, 3]",
    "net.subspectral_blocks=6": "net.subspectral_blocks: expected at most 5, the blocks of",
    "net.dropout=1.0": "net.dropout: expected less than or equal to 0.99, got 1.0",
    "net.dropout=0.999": "net.dropout: expected less than or equal to 0.99, got 0.999",
    "net.rnn_layers=1 net.dropout_recurrent=0.1": (
        "net.dropout_recurrent: expected 0 with rnn_layers 1, got 0.1"
    ),
    "augs.aug_methods=[Echo]": "augs.aug_methods.0: expected 'Time mask', 'Pitch shift'",
    "augs.aug_methods=[Filter, Filter]": "augs.aug_methods: expected distinct values",
    "augs.aug_methods=[Filter] augs.filter_bands=[2, 129]": (
        "augs.filter_bands: expected at most feats.n_mels 128, got [2, 129]"
    ),
    "augs.aug_methods=[Frequency mask] augs.frequency_mask=26": (
        "augs.frequency_mask: expected at most feats.n_mels 128 / augs.aug_scale 5, got 26"
    ),
    "training.validation_interval=3": (
        "training.validation_interval: expected a divisor of n_epochs 200, got 3"
    ),
    "training.train_sets=[weak, weak]": "training.train_sets: expected distinct values",
    "net.sed_pooling=[[1, 3], [1, 1]]": (
        "net.sed_pooling: expected a divisor of 4, the bands that enter block 1, got 3"
    ),
    "losses.self_consistency_active=0.01": (
        "losses.self_consistency_inactive: expected at most self_consistency_active 0.01, got 0.05"
    ),
    f"cross_task.excluded_classes=[{', '.join(CLASSES)}]": (
        "cross_task.excluded_classes: expected at least one class that is not excluded"
    ),
    "augs.mixup=soft": "augs.mixup: expected 'hard' or 'none', got 'soft'",
    "augs.mixup_scale=[2, 1]": "augs.mixup_scale: expected [lowest, highest], got [2, 1]",
    "augs.time_shift=0.3": "augs.time_shift: expected less than 1 / aug_scale 5, got 0.3",
    "augs.pitch_shift=500": "augs.pitch_shift: expected at most 1200 cents / aug_scale 5, got 500",
    "training.train_sets=[unlabelled]": "training.train_sets: expected a labelled set",
    "losses.sod=-1": "losses.sod: expected greater than or equal to 0, got -1",
    "losses.sod=.nan": "losses.sod: expected a finite number, got nan",
    "cross_task.excluded_classes=[Dish]": "or `[]`, got 'Dish (did you mean Dishes?)'",
    "postprocess.median_window.Plates=3": (
        "postprocess.median_window: expected names in data.classes (Alarm_bell_ringing, "
    ),
    "data.classes=[Cat, Cat]": "data.classes: expected distinct values, got ['Cat', 'Cat']",
    "data.classes=[]": "data.classes: expected at least 1 values, got []",
    "data.classes=[Cat, 'Dog,Speech']": "data.classes.1: expected a name without commas",
    "data.classes=[Cat, ' Dog']": "data.classes.1: expected a name without commas",
    'data.classes=["a\\tb"]': "data.classes.0: expected a name without commas",
    "data.classes=[Cat, Dog]": (
        "cross_task.excluded_classes: expected names in data.classes (Cat, Dog), or `[]`, got "
        "'Dishes'"
    ),
    "data.classes=[Dishes, Cat]": (
        "postprocess.median_window: expected names in data.classes (Dishes, Cat), or "
        "`!replace {default: FRAMES}`, got 'Alarm_bell_ringing, Blender, Dog and 5 more'"
    ),
    "postprocess.median_window=!replace {Cat: 3}": (
        "postprocess.median_window: expected a window of Alarm_bell_ringing, Blender, Dishes and 6 "
        "more, or `default`, got 'none'"
    ),
    "postprocess.methods=!replace [median]": "not valid YAML: !replace: expected a mapping",
    "postprocess.median_window.Cat=0": "median_window.Cat: expected greater than or equal to 1",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_refused_value(overrides: str, sed: Config) -> None:
    given = re.split(r" (?=[a-z_]+\.[a-z_]+=)", overrides)
    with pytest.raises(InputError) as caught:
        override_config(sed, given)
    assert REFUSED[overrides] in str(caught.value)
    assert str(caught.value).startswith("--set ")
    assert "\n" not in str(caught.value)


def test_override_without_value(sed: Config) -> None:
    with pytest.raises(InputError, match=r"--set training\.n_epochs: expected section\.key=value"):
        override_config(sed, ["training.n_epochs"])


def test_all_problems_are_reported(sed: Config) -> None:
    with pytest.raises(InputError) as caught:
        override_config(sed, ["opt.lr=-1", "net.dropout=2", "optim.lr=1"])
    assert [line.split(": ")[1] for line in str(caught.value).split("\n")] == [
        "opt.lr",
        "net.dropout",
        "optim",
    ]


BROKEN_FILES = {
    "extends: sed.yaml\nopt: {lr: 0.001, momentum: 1}": "mine.yaml:2: opt.momentum: unknown key",
    "extends: sed.yaml\nnet:\n  dropout: 0.1\n  rnn_layer: 1": (
        "mine.yaml:4: net.rnn_layer: unknown key; did you mean `rnn_layers`?"
    ),
    "extends: sed.yaml\noptimiser: {lr: 0.001}": (
        "mine.yaml:2: optimiser: unknown key; expected one of training, scaler, data, opt, feats, …"
    ),
    "extends: sed.yaml\ntraining:\n  n_epochs: 201\n  validation_interval: 2\n  seed: 3": (
        "mine.yaml:4: training.validation_interval: expected a divisor of n_epochs 201, got 2"
    ),
    "extends: sed.yaml\nfeats:\n  n_mels: 100\n  f_min: 50": (
        "mine.yaml:3: net.subspectral_bands: expected a divisor of 50"
    ),
    "extends: sed.yaml\nopt: {lr: 0.001}\nopt: {lr: 0.1}": (
        "mine.yaml:3: not valid YAML: the key 'opt' is given twice"
    ),
    "extends: sed.yaml\nopt: [": "mine.yaml:2: not valid YAML",
    "extends: nowhere.yaml": "mine.yaml:1: extends: nowhere.yaml is neither in",
    "extends: mine.yaml": "mine.yaml:1: extends: the file extends itself",
    "extends: 3": "mine.yaml:1: extends: expected a file name, got 3",
    "extends: sed.yaml\nopt: {lr: 2024-13-45}": "mine.yaml: not valid YAML",
    "{[1, 2]: 3}": "mine.yaml: not valid YAML",
    "- a list": "mine.yaml: expected sections of keys, got list",
    "opt: {lr: 0.001, betas: [0.9, 0.999]}": "mine.yaml: training: missing",
    "extends: sed.yaml\nopt: 3": "mine.yaml:2: opt: expected a section of keys, got 3",
    "extends: sed.yaml\npostprocess: {median_window: null}": (
        "mine.yaml:2: postprocess.median_window: expected a valid dictionary, got None"
    ),
}


@pytest.mark.parametrize("text", BROKEN_FILES)
def test_broken_file(text: str, tmp_path: Path) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(path.with_name(BROKEN_FILES[text])) in str(caught.value)


def test_median_window_of_a_class_is_missing(tmp_path: Path) -> None:
    raw = yaml.safe_load((CONFS / "sed.yaml").read_text())
    del raw["postprocess"]["median_window"]["Cat"]
    with pytest.raises(InputError, match=r"median_window: expected a window of Cat"):
        load_config(_written(tmp_path, yaml.safe_dump(raw)))


def test_parent_is_searched_beside_the_file_and_in_the_shipped_folder(
    tmp_path: Path, sed: Config
) -> None:
    child = _written(tmp_path, "extends: sed.yaml\nopt: {lr: 0.1}")
    assert load_config(child) == override_config(sed, ["opt.lr=0.1"])
    (tmp_path / "sed.yaml").write_text(f"extends: {CONFS / 'sed.yaml'}\nfeats: {{f_min: 20}}")
    assert load_config(child) == override_config(sed, ["opt.lr=0.1", "feats.f_min=20"])


def test_numbers_in_scientific_notation(tmp_path: Path) -> None:
    config = load_config(
        _written(tmp_path, "extends: sed.yaml\nopt: {lr: 1e-3}\nfeats: {log_floor: 1E-5}")
    )
    assert (config.opt.lr, config.feats.log_floor) == (1e-3, 1e-5)
    assert override_config(config, ["opt.lr=2e-4"]).opt.lr == 2e-4
    assert override_config(config, ["opt.lr=1"]).opt.lr == 1


def test_retired_key_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sed: Config
) -> None:
    path = _written(tmp_path, "extends: sed.yaml\ndata:\n  packed: true")
    assert load_config(path) == sed
    assert caplog.messages == [f"{path}:3: data.packed: no longer used: ignored"]
    assert override_config(sed, ["data.packed=true"]) == sed
    stored = sed.model_dump()
    stored["data"]["packed"] = False
    caplog.clear()
    assert stored_config(stored, "old.ckpt") == sed
    assert caplog.messages == ["old.ckpt: data.packed: no longer used: ignored"]
    with pytest.raises(InputError, match=r"mine\.yaml:1: data\.pack: unknown key"):
        load_config(_written(tmp_path, "data: {pack: true}\nextends: sed.yaml"))


def test_problems_of_a_checkpoint_name_the_checkpoint(sed: Config) -> None:
    stored = sed.model_dump()
    stored["net"]["dropout"] = 2.0
    stored["postprocess"]["volume"] = 11
    with pytest.raises(InputError) as caught:
        stored_config(stored, "old.ckpt")
    lines = [line.strip() for line in str(caught.value).split("\n")]
    assert lines[0].startswith("old.ckpt: net.dropout: expected")
    assert lines[1].startswith("old.ckpt: postprocess.volume: unknown key")


OWN_CLASSES = """\
extends: sed.yaml
data:
  classes: [Ärger, 蝉, default, one two/three]
cross_task:
  excluded_classes: [蝉]
postprocess:
  median_window: !replace
    default: 7
    蝉: 3
"""


def test_own_classes(tmp_path: Path) -> None:
    config = load_config(_written(tmp_path, OWN_CLASSES))
    assert config.data.classes == ["Ärger", "蝉", "default", "one two/three"]
    assert config.median_windows == [7, 3, 7, 7]
    assert load_config(_written(tmp_path, config.to_yaml())) == config


def test_a_mapping_that_is_not_replaced_is_added_to(tmp_path: Path, sed: Config) -> None:
    own = _written(
        tmp_path, "extends: sed.yaml\npostprocess: {median_window: {default: 9, Cat: 1}}"
    )
    windows = sed.postprocess.median_window | {"default": 9, "Cat": 1}
    assert load_config(own).postprocess.median_window == windows
    config = override_config(sed, ["postprocess.median_window=!replace {default: 9, Cat: 1}"])
    assert config.median_windows == [9, 9, 1, *[9] * 7]
