"""Conversion of the published YAML: golden file, every key, unknown keys."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from desed_task.errors import InputError
from desed_task.settings import section_class
from local.config.load import load_config
from local.config.published import CONFIG_TABLE
from local.config.schema import Config
from tests.support.paths import CONFS, GOLDEN


@pytest.fixture
def published() -> dict[str, dict[str, Any]]:
    return json.loads((GOLDEN / "published_config.json").read_text())


def _written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_published_yaml_loads(published: Any, tmp_path: Path) -> None:
    config = load_config(_written(tmp_path, published))
    recipe = load_config(CONFS / "sed.yaml")
    for section in ("training", "scaler", "opt", "feats", "net", "augs", "losses", "cross_task"):
        assert getattr(config, section) == getattr(recipe, section), section
    assert str(config.data.test_tsv).endswith("eval/public.tsv")
    assert config.data.eval_folder is None


def test_published_values_take_effect(published: Any, tmp_path: Path) -> None:
    published["training"]["const_max"] = 3
    published["augs"]["consis"] = False
    published["net"]["n_RNN_cell"] = 64
    config = load_config(_written(tmp_path, published))
    assert config.training.const_max == 3
    assert config.losses.self_consistency == 0
    assert config.net.n_RNN_cell == 64


def test_unknown_published_keys_are_refused(published: Any, tmp_path: Path) -> None:
    published["training"]["mixup_type"] = "soft"
    published["model"] = "large"
    path = _written(tmp_path, published)
    lines = path.read_text().splitlines()
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    for key, line in (("training.mixup_type", "  mixup_type: soft"), ("model", "model: large")):
        assert f"{path}:{lines.index(line) + 1}: {key}: unknown key" in message


def test_wrong_published_value_is_reported_with_its_line(published: Any, tmp_path: Path) -> None:
    published["training"]["backend"] = "dp"
    published["augs"]["consis"] = "yes"
    path = _written(tmp_path, published)
    lines = path.read_text().splitlines()
    with pytest.raises(InputError) as caught:
        load_config(path)
    backend, consis = (lines.index(line) + 1 for line in ("  backend: dp", "  consis: 'yes'"))
    assert f"{path}:{backend}: training.backend: expected 'ddp', got 'dp'" in str(caught.value)
    assert f"{path}:{consis}: losses.self_consistency: expected" in str(caught.value)


def test_table_covers_the_published_configuration(published: Any) -> None:
    keys = {f"{section}.{key}" for section, content in published.items() for key in content}
    assert set(CONFIG_TABLE) == keys
    ours = {
        f"{name}.{key}"
        for name, section in Config.model_fields.items()
        for key in section_class(section.annotation).model_fields  # type: ignore[union-attr]
    }
    assert {each.target for each in CONFIG_TABLE.values()} - {None} <= ours
