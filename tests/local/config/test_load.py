"""Configurations: what loads, what is refused, and the message with file, line and key."""

import json
from pathlib import Path

import pytest

from desed_task.encoder.settings import Tokens
from desed_task.errors import InputError
from local.config.load import load_config, override_config, stored_config
from local.config.schema import Config
from tests.support.paths import CONFS

CHECKPOINTS = Path(__file__).parent / "older_checkpoints"


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_recipe_values(recipe: Config) -> None:
    assert recipe.grid.n_frames == 156
    assert recipe.median_windows == [3, 28, 7, 4, 7, 22, 48, 19, 10, 50]
    assert recipe.clips_per_set == {"synthetic": 6, "weak": 6, "unlabelled": 12}


def test_demo_changes_sizes_and_paths_only(recipe: Config) -> None:
    demo, published = load_config(CONFS / "demo.yaml").model_dump(), recipe.model_dump()
    for section in ("scaler", "augs", "losses", "cross_task", "postprocess"):
        if section == "postprocess":  # the recipe's method first, others beside it
            assert demo[section].pop("methods")[:1] == published[section].pop("methods")
            del demo[section]["bootstrap_replicates"], published[section]["bootstrap_replicates"]
            windows = [settings[section].pop("median_window") for settings in (demo, published)]
            for own, original in zip(*(each.values() for each in windows), strict=True):
                assert abs(2 * own - original) <= 1  # frames twice as long, to the nearest one
        assert demo[section] == published[section], section


def test_resolved_configuration_loads_again(tmp_path: Path, recipe: Config) -> None:
    config = load_config(CONFS / "demo.yaml", ["opt.lr=0.002"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    assert load_config(path).digest == config.digest
    assert recipe.digest != config.digest


def test_digest_of_what_changes_a_result(recipe: Config) -> None:
    more = ["training.num_workers=1", "training.batch_size_val=9", "training.picture_interval=3"]
    assert override_config(recipe, [*more, "postprocess.report=false"]).digest == recipe.digest
    for other in ("training.seed=1", "training.precision=32", "postprocess.f1_threshold=0.4"):
        assert override_config(recipe, [other]).digest != recipe.digest


def test_all_problems_are_reported(recipe: Config) -> None:
    with pytest.raises(InputError) as caught:
        override_config(recipe, ["opt.lr=-1", "net.dropout=2", "optim.lr=1"])
    assert [line.split(": ")[1] for line in str(caught.value).split("\n")] == [
        "opt.lr",
        "net.dropout",
        "optim",
    ]


def test_parent_is_searched_beside_the_file_and_in_the_shipped_folder(
    tmp_path: Path, recipe: Config
) -> None:
    child = _written(tmp_path, "extends: sed.yaml\nopt: {lr: 0.1}")
    assert load_config(child) == override_config(recipe, ["opt.lr=0.1"])
    (tmp_path / "sed.yaml").write_text(f"extends: {CONFS / 'sed.yaml'}\nfeats: {{f_min: 20}}")
    assert load_config(child) == override_config(recipe, ["opt.lr=0.1", "feats.f_min=20"])


def test_numbers_in_scientific_notation(tmp_path: Path) -> None:
    config = load_config(
        _written(tmp_path, "extends: sed.yaml\nopt: {lr: 1e-3}\nfeats: {log_floor: 1E-5}")
    )
    assert (config.opt.lr, config.feats.log_floor) == (1e-3, 1e-5)
    assert override_config(config, ["opt.lr=2e-4"]).opt.lr == 2e-4
    assert override_config(config, ["opt.lr=1"]).opt.lr == 1


def test_problems_of_a_checkpoint_name_the_checkpoint(recipe: Config) -> None:
    stored = recipe.plain()
    stored["net"]["dropout"] = 2.0
    stored["postprocess"]["volume"] = 11
    with pytest.raises(InputError) as caught:
        stored_config(stored, "old.ckpt")
    lines = [line.strip() for line in str(caught.value).split("\n")]
    assert lines[0].startswith("old.ckpt: net.dropout: expected")
    assert lines[1].startswith("old.ckpt: postprocess.volume: unknown key")


@pytest.mark.parametrize("name", ["demo", "sed"])
def test_a_checkpoint_of_an_older_run(name: str) -> None:
    """The settings that a checkpoint of 2026-11 stores: those of its configuration file."""
    stored = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    config = stored_config(stored, "old.ckpt")
    of_file = load_config(CONFS / f"{name}.yaml")
    for section in set(Config.model_fields) - {"data"}:
        assert getattr(config, section) == getattr(of_file, section), section
    own = {key: value for key, value in stored["data"].items() if value is not None}
    assert config.data.paths() == {
        key: str(Path(value)) for key, value in own.items() if isinstance(value, str)
    }


def test_encoder_is_given_on_the_command_line_and_removed() -> None:
    keys = ["encoder.source=a.onnx", "encoder.sample_rate=16000"]
    with pytest.raises(InputError) as caught:
        load_config(CONFS / "sed.yaml", keys)
    lines = [line.strip() for line in str(caught.value).split("\n")]
    assert [line.split(": ", 1)[1] for line in lines] == [
        "encoder.frame_seconds: missing",
        "encoder.dimension: missing",
    ]
    given = load_config(
        CONFS / "sed.yaml", [*keys, "encoder.frame_seconds=0.02", "encoder.dimension=4"]
    )
    assert given.encoder is not None
    assert given.encoder.source == "a.onnx"
    assert override_config(given, ["encoder=null"]) == load_config(CONFS / "sed.yaml")
    assert stored_config(given.plain(), "a.ckpt") == given
    whole = load_config(
        CONFS / "sed.yaml",
        [
            "encoder={source: b.pt2, sample_rate: 8000, "
            "frame_seconds: 0.02, dimension: 4, tokens: {bands: 8, order: time}}"
        ],
    )
    assert whole.encoder is not None
    assert whole.encoder.tokens == Tokens(bands=8, order="time")


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
    assert config.data.classes == ("Ärger", "蝉", "default", "one two/three")
    assert config.median_windows == [7, 3, 7, 7]
    assert load_config(_written(tmp_path, config.to_yaml())) == config


def test_a_mapping_that_is_not_replaced_is_added_to(tmp_path: Path, recipe: Config) -> None:
    own = _written(
        tmp_path, "extends: sed.yaml\npostprocess: {median_window: {default: 9, Cat: 1}}"
    )
    windows = recipe.postprocess.median_window | {"default": 9, "Cat": 1}
    assert load_config(own).postprocess.median_window == windows
    config = override_config(recipe, ["postprocess.median_window=!replace {default: 9, Cat: 1}"])
    assert config.median_windows == [9, 9, 1, *[9] * 7]


TEXTS = (
    *("/data/mic #2", "#2", "010", "2020-01-01", "no", "a: b", "@x", "1:30", "1e5", "[x", "- a"),
    *("&a", "*a", "!x", "%x", "`x`", '"q"', "'", "{x}", "a=b", " x ", "a::b", "x\ny", "é", "-"),
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_what_the_command_line_has(text: str, recipe: Config, tmp_path: Path) -> None:
    config = override_config(recipe, [f"data.root={text}", f"data.synth_folder={text}"])
    assert (config.data.root, config.data.synth_folder) == (text, text)
    assert load_config(_written(tmp_path, config.to_yaml())) == config


def test_null_on_the_command_line(recipe: Config) -> None:
    """The only value that is not the text itself."""
    config = override_config(recipe, ["data.root=./null", "data.synth_folder_44k=null"])
    assert (config.data.root, config.data.synth_folder_44k) == ("./null", None)
    assert override_config(recipe, ["training.backend=null"]) == recipe
    for text in ("~", "Null", "NULL"):
        with pytest.raises(InputError, match=r"training\.backend: expected 'ddp', got"):
            override_config(recipe, [f"training.backend={text}"])


NO_NUMBERS = ("010", "0120", "1:30", "0x10", "0o10", "0b1", "1_000", "2020-01-01", "yes", "''", "٣")


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_numbers_are_decimal(text: str, recipe: Config, tmp_path: Path) -> None:
    for key, expected in (("training.seed", "integer"), ("opt.lr", "number")):
        with pytest.raises(InputError, match=f"{key}: expected a decimal {expected}, got"):
            override_config(recipe, [f"{key}={text}"])
        section, name = key.split(".")
        with pytest.raises(InputError, match=f"{key}: expected a decimal {expected}, got"):
            load_config(_written(tmp_path, f"extends: sed.yaml\n{section}: {{{name}: {text}}}"))


def test_what_a_yaml_file_reads_as_a_text(recipe: Config, tmp_path: Path) -> None:
    """As on the command line, but what looks like a number, true, false or null has quotes."""
    names = "[no, 010, 1:30, 2020-01-01, 1_000, 'null', \"1e5\", on]"
    windows = "!replace {default: 7, no: 3, 1e5: 5}"
    text = f"extends: sed.yaml\ndata: {{classes: {names}}}\ncross_task: {{excluded_classes: [no]}}"
    text += f"\npostprocess: {{median_window: {windows}}}"
    config = load_config(_written(tmp_path, text))
    own = ("no", "010", "1:30", "2020-01-01", "1_000", "null", "1e5", "on")
    assert config.data.classes == own
    assert config.median_windows == [3, 7, 7, 7, 7, 7, 5, 7]
    sets = [f"data.classes={names}", "cross_task.excluded_classes=[no]"]
    sets.append(f"postprocess.median_window={windows}")
    assert override_config(recipe, sets) == config
    assert load_config(_written(tmp_path, config.to_yaml())) == config
    wrong = _written(tmp_path, "extends: sed.yaml\ndata:\n  classes: [Dog]\n  root: 2021")
    with pytest.raises(InputError, match=r"mine\.yaml:4: data\.root: expected a text, in quotes "):
        load_config(wrong)


@pytest.mark.parametrize(
    "text",
    ["training.seed=5 #2", "training.seed=#2", "data.classes=[a] # b", "net.nb_filters=[1 #\n]"],
)
def test_no_part_of_a_value_is_lost(text: str, recipe: Config) -> None:
    with pytest.raises(InputError, match="expected a value, got a comment"):
        override_config(recipe, [text])
