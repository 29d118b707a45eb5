"""The configuration: what is accepted, what is refused and how it is said."""

import json
from pathlib import Path

import pytest
import yaml

from desed_task.errors import InputError
from local.classes import CLASSES
from local.config.load import Config, load_config, override_config
from local.config.published import CONFIG_TABLE
from tests.support.paths import CONFS, GOLDEN, ROOT


def _sed(*overrides: str) -> Config:
    return load_config(CONFS / "sed.yaml", overrides)


def test_recipe_numbers() -> None:
    config = _sed()
    assert config.grid.n_frames == 156
    assert config.postprocess.windows == [3, 28, 7, 4, 7, 22, 48, 19, 10, 50]
    assert config.training.clips_per_set == {"synthetic": 6, "weak": 6, "unlabelled": 12}


def test_demo_is_the_recipe_reduced() -> None:
    """The demo changes sizes and paths, and leaves the method as it is."""
    demo, recipe = load_config(CONFS / "demo.yaml").model_dump(), _sed().model_dump()
    for section in ("scaler", "augs", "losses", "cross_task", "postprocess"):
        if section == "postprocess":  # the recipe's, and two more beside it
            assert demo[section].pop("methods")[:1] == recipe[section].pop("methods")
            del demo[section]["bootstrap_replicates"], recipe[section]["bootstrap_replicates"]
        assert demo[section] == recipe[section], section


def test_resolved_configuration_loads_again(tmp_path: Path) -> None:
    config = load_config(CONFS / "demo.yaml", ["opt.lr=0.002"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    assert load_config(path).digest == config.digest
    assert _sed().digest != config.digest


REFUSED = {
    "training.n_epoch=3": "unknown key training.n_epoch; allowed here: train_sets, batch_size",
    "trainin.n_epochs=3": "no section 'trainin'",
    "training.n_epochs": "write section.key=value",
    "training.batch_size=[6, 0, 12]": "training.batch_size.1: 0 is not allowed: .*greater than",
    "training.batch_size=[6, 6]": r"training.batch_size: \[6, 6\] is not allowed: .*at least 3",
    "training.batch_size=0": "training.batch_size: 0 is not allowed: .*list",
    "training.batch_size_val=0": "training.batch_size_val: 0 is not allowed",
    "training.n_epochs=ten": "training.n_epochs: 'ten' is not allowed: .*integer",
    "training.n_epochs=2.5": "training.n_epochs: 2.5 is not allowed: .*integer",
    "training.mean_teacher=1": "training.mean_teacher: 1 is not allowed: .*boolean",
    "training.precision=16": "training.precision: 16 is not allowed: .*'16-mixed'",
    "training.train_sets=[real]": "training.train_sets.0: 'real' is not allowed: .*'synthetic'",
    "training.ema_factor=1.5": "training.ema_factor: 1.5 is not allowed: .*less than 1",
    "scaler.statistic=dataset": "scaler: statistic 'dataset' goes with normtype",
    "scaler.dims=[1, 1]": "scaler: dims names an axis twice",
    "data.eval_tsv=null": "data: eval_folder, eval_tsv and eval_dur are given together",
    "feats.f_max=9000": "feats.f_max 9000 exceeds half of data.fs 16000",
    "feats.n_mels=100": "net.subspectral_bands 4 does not divide the 50 bands that enter block 2",
    "feats.hop_length=4096": "feats.hop_length 4096 exceeds feats.n_window",
    "feats.log_range=[80, -50]": "log_range .* must be",
    "data.audio_max_len=0.05": "data.audio_max_len 0.05 s is shorter",
    "net.sed_pooling=[[1, 2], [1, 1]]": "leave 2 of feats.n_mels 128 bands; .*exactly 1",
    "net.sed_pooling=[[2, 2], [1, 2]]": "sed_pooling pools no time",
    "net.pooling=[[2, 2]]": "pooling has 1 entries, nb_filters has 5",
    "net.kernel_size=[3, 3, 4, 3, 3]": "kernel size 4 must be odd",
    "net.subspectral_blocks=6": "subspectral_blocks 6 exceeds the 5 blocks",
    "net.dropout=1.0": "net.dropout: 1.0 is not allowed",
    "augs.aug_methods=[Echo]": "augs.aug_methods.0: 'Echo' is not allowed: .*'Time mask'",
    "augs.aug_methods=[Filter, Filter]": "aug_methods names a method twice",
    "training.validation_interval=3": "n_epochs 200 must be a multiple of validation_interval 3",
    "training.train_sets=[weak, weak]": "train_sets names a set twice",
    "net.sed_pooling=[[1, 3], [1, 1]]": "pooling 3 does not divide the 4 bands that reach it",
    "net.dropout=0.999": "net.dropout: 0.999 is not allowed",
    "losses.self_consistency_active=0.01": "self_consistency_inactive 0.05 must not exceed",
    f"cross_task.excluded_classes=[{', '.join(CLASSES)}]": "excluded_classes names every class",
    "augs.mixup=soft": "augs.mixup: 'soft' is not allowed",
    "augs.mixup_scale=[2, 1]": "mixup_scale .* must be",
    "augs.time_shift=0.3": "time_shift 0.3 times aug_scale 5",
    "augs.pitch_shift=500": "1200 cents",
    "training.train_sets=[unlabelled]": "no labelled set of training.train_sets",
    "losses.sod=-1": "losses.sod: -1 is not allowed",
    "losses.sod=.nan": "losses.sod: nan is not allowed",
    "cross_task.excluded_classes=[Plates]": "excluded_classes.0: 'Plates' .*'Dishes'",
    "postprocess.median_window.Plates=3": "unknown key postprocess.median_window.Plates",
    "postprocess.median_window.Cat=0": "postprocess.median_window.Cat: 0 is not allowed",
}


@pytest.mark.parametrize("override", REFUSED)
def test_refused_value(override: str) -> None:
    with pytest.raises(InputError, match=REFUSED[override]) as caught:
        _sed(override)
    assert "\n" not in str(caught.value)


def test_all_problems_are_reported() -> None:
    with pytest.raises(InputError) as caught:
        _sed("opt.lr=-1", "net.dropout=2")
    assert "opt.lr" in str(caught.value)
    assert "net.dropout" in str(caught.value)


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


BROKEN_FILES = {
    "extends: BASE\nopt: {lr: 0.001, momentum: 1}": "opt.momentum: unknown key; allowed: lr, betas",
    "extends: BASE\noptimiser: {lr: 0.001}": "optimiser: unknown key; allowed: training, scaler",
    "extends: BASE\nopt: {lr: 0.001}\nopt: {lr: 0.1}": "the key 'opt' stands twice",
    "extends: BASE\nopt: [": "not valid YAML",
    "extends: nowhere.yaml": "nowhere.yaml: no such file",
    "extends: mine.yaml": "extends itself",
    "extends: 3": "extends: 3 is not a file name",
    "extends: BASE\nopt: {lr: 2024-13-45}": "not valid YAML",
    "{[1, 2]: 3}": "not valid YAML",
    "- a list": "must hold sections of keys",
    "opt: {lr: 0.001, betas: [0.9, 0.999]}": "training: missing",
    "extends: BASE\nopt: 3": "opt: 3 is not allowed",
    "extends: BASE\npostprocess: {median_window: null}": "postprocess.median_window: None",
}


@pytest.mark.parametrize("text", BROKEN_FILES)
def test_broken_file(text: str, tmp_path: Path) -> None:
    path = _written(tmp_path, text.replace("BASE", str(CONFS / "sed.yaml")))
    with pytest.raises(InputError, match=BROKEN_FILES[text]):
        load_config(path)


def test_a_median_window_must_be_there_for_every_class(tmp_path: Path) -> None:
    raw = yaml.safe_load((CONFS / "sed.yaml").read_text())
    del raw["postprocess"]["median_window"]["Cat"]
    with pytest.raises(InputError, match="median_window lacks Cat"):
        load_config(_written(tmp_path, yaml.safe_dump(raw)))


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = f"extends: {CONFS / 'sed.yaml'}\nopt: {{lr: 1e-3}}\nfeats: {{log_floor: 1E-5}}"
    config = load_config(_written(tmp_path, text))
    assert (config.opt.lr, config.feats.log_floor) == (1e-3, 1e-5)
    assert override_config(config, ["opt.lr=2e-4"]).opt.lr == 2e-4
    assert override_config(config, ["opt.lr=1"]).opt.lr == 1


def _published() -> dict[str, dict[str, object]]:
    return json.loads((GOLDEN / "published_config.json").read_text())


def test_published_yaml_loads(tmp_path: Path) -> None:
    config = load_config(_written(tmp_path, yaml.safe_dump(_published())))
    recipe = _sed()
    for section in ("training", "scaler", "opt", "feats", "net", "augs", "losses", "cross_task"):
        assert getattr(config, section) == getattr(recipe, section), section
    assert config.data.test_tsv.endswith("eval/public.tsv")
    assert config.data.eval_folder is None


def test_published_values_take_effect(tmp_path: Path) -> None:
    published = _published()
    published["training"]["const_max"] = 3
    published["augs"]["consis"] = False
    published["net"]["n_RNN_cell"] = 64
    config = load_config(_written(tmp_path, yaml.safe_dump(published)))
    assert config.training.const_max == 3
    assert config.losses.self_consistency == 0
    assert config.net.n_RNN_cell == 64


def test_unknown_published_key_is_refused(tmp_path: Path) -> None:
    published = _published()
    published["training"]["mixup_type"] = "soft"
    with pytest.raises(InputError, match=r"training\.mixup_type: unknown key"):
        load_config(_written(tmp_path, yaml.safe_dump(published)))
    published = _published()
    published["training"]["backend"] = "dp"
    with pytest.raises(InputError, match=r"training.backend: 'dp'"):
        load_config(_written(tmp_path, yaml.safe_dump(published)))


def test_conversion_table_covers_the_published_configuration() -> None:
    keys = {f"{section}.{key}" for section, content in _published().items() for key in content}
    assert set(CONFIG_TABLE) == keys
    ours = {
        f"{name}.{key}"
        for name, section in Config.model_fields.items()
        for key in section.annotation.model_fields  # type: ignore[union-attr]
    }
    targets = {c.target or key for key, c in CONFIG_TABLE.items() if c.fate != "unused"}
    assert targets <= ours


def test_documentation_has_every_key_and_the_conversion_table() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for name, section in Config.model_fields.items():
        for key in section.annotation.model_fields:  # type: ignore[union-attr]
            assert f"`{name}.{key}`" in text, key
    for key, conversion in CONFIG_TABLE.items():
        note = conversion.target and f"`{conversion.target}`"
        cells = [f"`{key}`", conversion.fate, "; ".join(filter(None, [note, conversion.reason]))]
        assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in text, key
    for label in CLASSES:
        assert label in text


def test_retired_key_is_ignored_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _written(tmp_path, f"extends: {CONFS / 'sed.yaml'}\ndata: {{packed: true}}")
    assert load_config(path) == _sed()
    assert "data.packed: no longer used: ignored" in caplog.text
    assert _sed("data.packed=true") == _sed()
    with pytest.raises(InputError, match=r"data\.pack: unknown key"):
        load_config(_written(tmp_path, f"extends: {CONFS / 'sed.yaml'}\ndata: {{pack: true}}"))
