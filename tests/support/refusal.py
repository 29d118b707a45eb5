"""Commands that refuse their input: status 2 and one short message."""

from collections.abc import Callable

import pytest

from desed_task.errors import MAX_LINE_LENGTH, USAGE_ERROR, exit_status, run_cli


def refusal(act: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that refuses its input."""
    with pytest.raises(SystemExit) as caught:
        run_cli(lambda: int(act() is None))
    assert exit_status(caught.value) == USAGE_ERROR
    message = capsys.readouterr().err.strip().rpartition("error: ")[2]
    assert "Traceback" not in message
    assert all(len(line) <= MAX_LINE_LENGTH + 10 for line in message.splitlines())
    assert message
    return message
