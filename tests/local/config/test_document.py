"""docs/configuration.md: generated, complete, up to date."""

from desed_task.encoder.settings import EncoderSettings
from local.config.document import DOCUMENT, document
from local.config.load import load_config
from tests.support.paths import CONFS


def test_file_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run python -m local.config.document"


def test_every_key_has_a_default_and_a_description() -> None:
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in document().splitlines()
    ]
    described = {cells[0]: cells[1:] for cells in rows if len(cells) == 3}
    for section, content in load_config(CONFS / "sed.yaml").model_dump().items():
        for key in content or EncoderSettings.model_fields:
            default, description = described.pop(f"`{section}.{key}`")
            assert default or (content is None and EncoderSettings.model_fields[key].is_required())
            assert len(description) >= len("seconds"), key
