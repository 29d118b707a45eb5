"""Write docs/configuration.md from the schema and the table of published keys.

python -m local.config.document
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from desed_task.desed import CLIP_SETS
from desed_task.settings import section_class
from local.config.data import KEYS
from local.config.published import CONFIG_TABLE
from local.config.schema import Config
from local.config.yaml_files import RECIPE, read_composed

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

<!-- Generated from local/config by `python -m local.config.document`; a test compares. -->

`confs/sed.yaml` is the published recipe. A configuration of your own extends it and holds the
differences:

```yaml
extends: sed.yaml
training:
  n_epochs: 100
```

The file that `extends` names is searched beside the extending file, then in `confs/`.
`--set section.key=value` changes one key on the command line. The resolved configuration is saved
as `config.yaml` in the run's folder.

The paths of the sets are relative to `data.root`, and `data.root` to the folder in which
`train_sed.py` is started: with a copy of DESED, `--set data.root=/data/desed` is enough. In a file
of an older version, which has no `data.root`, they are relative to the current folder.

A value without quotes is a decimal number (`12`, `0.5`, `1e-3`), `true`, `false`, `null`, or
otherwise a text: `no`, `010`, `1:30`, `1_000`, `0x10` and `2020-01-01` are texts, and refused
where a number is expected. With `--set`, the value of a key that is a text needs no quotes and is
used unchanged, also `2021`, `mic #2` or `a: b`; only `null` is not a text (`./null` is a folder of
this name).

An unknown key, a wrong type or an impossible value ends the program with exit status 2; every
problem is reported with its file and line, the key, and what is allowed:

    error: mine.yaml:3: training.n_epoch: unknown key (did you mean n_epochs?)

Sections and mappings are merged with those of the extended file. A mapping tagged `!replace` is
not, for example with classes of your own:

```yaml
data:
  classes: [Rooster, Sneeze]
cross_task:
  excluded_classes: []
postprocess:
  median_window: !replace {default: 7}
```

The definitions of the metrics (PSDS scenarios, collars, segment length, intersection criteria) are
constants of `desed_task.evaluation`.
"""

SETS = """\
## The sets of DESED

Folders and tables below `data.root`, as `confs/sed.yaml` expects them. The prepared copy of a
folder at 16 kHz has `_16k` at its end. Optional: the published recipe does not need the set, and
its keys are `null` in `confs/sed.yaml`.
"""

PUBLISHED = """\
## The published YAML and checkpoint

A published YAML (it has the key `net.nclass`), or the configuration in a published checkpoint, is
converted by this table (`local/config/published.py`) and laid over `confs/sed.yaml`. Other keys are
an error.
"""


def document() -> str:
    """The text of docs/configuration.md."""
    defaults = read_composed(RECIPE).values
    blocks = [INTRODUCTION]
    for name, section in Config.model_fields.items():
        kind: Any = section_class(section.annotation)
        fields = kind.model_fields
        given = defaults[name] or {key: field.default for key, field in fields.items()}
        rows = [
            [f"`{name}.{key}`", _default(default), str(fields[key].description)]
            for key, default in given.items()
        ]
        blocks += [f"## {name}\n\n{kind.__doc__}\n", _table(["key", "default", "meaning"], rows)]
    blocks += [SETS, _table(["set", "labels", "clips", "audio", "table", "keys"], _set_rows())]
    published = [
        [f"`{key}`", _target(key, conversion.target), conversion.note]
        for key, conversion in CONFIG_TABLE.items()
    ]
    blocks += [PUBLISHED, _table(["published key", "key here", "note"], published)]
    return "\n".join(blocks)


def _set_rows() -> list[list[str]]:
    return [
        [
            clip_set.title + (" (optional)" if clip_set.optional else ""),
            clip_set.labels,
            f"{clip_set.clips}",
            ", ".join(f"`{folder}`" for folder in clip_set.audio_folders),
            f"`{clip_set.table}`",
            ", ".join(f"`{key}`" for key in KEYS[clip_set.name] if key is not None),
        ]
        for clip_set in CLIP_SETS
    ]


def _target(key: str, target: str | None) -> str:
    return "unused" if target is None else "the same" if target == key else f"`{target}`"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return ""  # must be given
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return f"`{text.split('...')[0].strip()}`"  # PyYAML ends a document of one scalar with "..."


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") + "\n" for cells in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
