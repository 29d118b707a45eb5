"""The tiny data set with three own classes in place of DESED's ten."""

import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from local.config.load import load_config
from tests.support.classes import CLASSES
from tests.support.paths import CONFS
from tests.support.tiny import data_overrides

OWN = ("\u0414\u0432\u0435\u0440\u044c", "\u732b \u306e\u58f0", "Z\u00e4hler 2")
"""A Cyrillic, a Japanese and a Latin name, two of them with a space."""


def class_overrides(classes: Sequence[str]) -> list[str]:
    """Overrides that name three classes wherever a configuration names them."""
    return [
        f"data.classes=[{', '.join(classes)}]",
        f"cross_task.excluded_classes=[{classes[2]}]",
        f"postprocess.median_window=!replace {{default: 5, {classes[1]}: 3}}",
    ]


def own_classes(data: Path, folder: Path) -> list[str]:
    """Overrides for the clips of `data` with `OWN` classes; writes their tables into `folder`.

    Names in the tables have letters and their accents as two characters.
    """
    shutil.copytree(data / "metadata", folder / "metadata")
    for path in (folder / "metadata").rglob("*.tsv"):
        text = path.read_text(encoding="utf-8")
        for number, name in enumerate(CLASSES):
            text = text.replace(name, unicodedata.normalize("NFD", OWN[number % len(OWN)]))
        path.write_text(text, encoding="utf-8")
    sets = load_config(CONFS / "demo.yaml", data_overrides(data)).data
    tables = [
        f"data.{key}={folder / path}"
        for key, path in sets
        if isinstance(path, str) and path.startswith("metadata/")
    ]
    return [*class_overrides(OWN), *tables]
