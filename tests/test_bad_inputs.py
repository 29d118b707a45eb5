"""Every bad input of the list ends with one message and status 2, and docs/faults.md has it."""

import pytest

from desed_task.errors import MAX_LINE_LENGTH, USAGE_ERROR
from tests.support.bad_inputs import DOCUMENT, Outcome, document, outcomes


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return list(outcomes(tmp_path_factory.mktemp("inputs")))


def test_bad_inputs_end_with_a_message_and_status_2(found: list[Outcome]) -> None:
    assert len({each.situation for each in found}) == len(found) >= 100
    for each in found:
        assert each.status == USAGE_ERROR, each
        assert each.message, each
        assert "Traceback" not in each.message, each
        assert all(len(line) <= MAX_LINE_LENGTH + 10 for line in each.message.splitlines()), each


def test_the_document_has_their_messages(found: list[Outcome]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text, found) == text
