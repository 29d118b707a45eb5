"""Paths of the sets: the table of DESED, the recipe's keys, `data.root`, older files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from desed_task.dataio.batch import ClipKind
from desed_task.desed import BY_NAME, CLIP_SETS, TRAINING_SETS
from local.config.data import KEYS, Data
from local.config.load import load_config, override_config, stored_config
from local.config.schema import KindShares
from local.run.resuming import changes
from tests.support.paths import CONFS, GOLDEN, ROOT

ROOTLESS = {"classes", "root", "audio_max_len", "fs", "channel"}


def test_each_set_and_each_path_has_one_key() -> None:
    assert tuple(KindShares.model_fields) == TRAINING_SETS
    assert KEYS.keys() == BY_NAME.keys()
    keys = [key for set_keys in KEYS.values() for key in set_keys if key is not None]
    assert sorted(keys) == sorted(Data.model_fields.keys() - ROOTLESS)
    for clip_set in CLIP_SETS:
        assert (KEYS[clip_set.name].tsv is None) == (clip_set.labels == "unlabelled")
        assert (KEYS[clip_set.name].durations is None) == (clip_set.durations is None)
    assert [kind.name.lower() for kind in ClipKind] == list(TRAINING_SETS)


@pytest.mark.parametrize("name", ["sed.yaml", "demo.yaml"])
def test_paths_are_those_of_the_table(name: str) -> None:
    config = load_config(CONFS / name, ["data.root=/data/desed"])
    root = Path("/data/desed")
    for set_name, found in config.data.sets.items():
        clip_set = BY_NAME[set_name]
        assert (found.folder, found.original) == (
            str(root / clip_set.prepared),
            str(root / clip_set.audio),
        )
        assert found.tsv == (None if found.keys.tsv is None else str(root / clip_set.table))
        assert found.durations == (clip_set.durations and str(root / clip_set.durations))
    optional = {each.name for each in CLIP_SETS if each.optional}
    assert config.data.sets.keys() >= BY_NAME.keys() - optional


def test_root_is_relative_to_the_current_folder_and_may_be_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    recipe = load_config(CONFS / "sed.yaml", ["data.root=here", "data.test_tsv=/else/where.tsv"])
    paths = recipe.data.paths()
    assert paths["weak_tsv"] == "here/metadata/train/weak.tsv"
    assert paths["test_tsv"] == "/else/where.tsv"
    home = override_config(recipe, ["data.root=~/desed", "data.weak_folder=~/weak"]).data
    assert home.paths()["weak_tsv"] == "/home/me/desed/metadata/train/weak.tsv"
    assert home.sets["weak"].folder == "/home/me/weak"


def _older() -> dict[str, Any]:
    """The recipe's values as a version without `data.root` wrote them."""
    values = load_config(CONFS / "sed.yaml").plain()
    root = values["data"].pop("root")
    del values["losses"]["self_consistency_share"]["strong"]
    for key in filter(None, KEYS["strong"]):
        del values["data"][key]
    for key in values["data"].keys() - ROOTLESS:
        if values["data"][key] is not None:
            values["data"][key] = f"{root}/{values['data'][key]}"
    return values


def test_older_files_have_paths_relative_to_the_current_folder(tmp_path: Path) -> None:
    recipe = load_config(CONFS / "sed.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(_older()))
    for config in (load_config(path), stored_config(_older(), "old.ckpt")):
        assert config.data.root == "."
        assert config.data.sets == recipe.data.sets
        assert not changes(config, recipe)  # nothing that a resumed run reports or refuses
    moved = changes(recipe, override_config(recipe, ["data.root=/else"]))
    assert moved["data.weak_tsv"][1] == "/else/metadata/train/weak.tsv"
    path.write_text((GOLDEN / "published_config.json").read_text())
    published = json.loads(path.read_text())["data"]
    assert load_config(path).data.sets["weak"].folder == str(Path(published["weak_folder"]))
    path.write_text("extends: sed.yaml\ndata: {fs: 16000}")
    assert load_config(path) == recipe


def test_the_specification_has_the_numbers_of_the_table() -> None:
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    rows = [line for line in text.split("## Data")[1].splitlines() if line.startswith("| ")]
    for clip_set in CLIP_SETS:
        number = f"{clip_set.clips:,}".replace(",", " ")
        (row,) = [row for row in rows if f"| {number}" in row]
        assert clip_set.labels == "unlabelled" or Path(clip_set.table).name in row
