"""A user's mistake becomes one message and exit status 2, wherever it is found."""

import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from desed_task.errors import InputError, Terminated, listing, run_cli, shortened


class Broken(Dataset[torch.Tensor]):
    """A data set whose only file cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        raise InputError("a.wav: cannot be read\n  second line: of the message")


def _fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_process_is_its_message_alone(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        list(DataLoader(Broken(), num_workers=workers))

    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message == "error: a.wav: cannot be read\n  second line: of the message\n"


def test_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    for main, status in (
        (lambda: None, None),
        (lambda: 3, 3),
        (lambda: _fail(KeyboardInterrupt()), 130),
        (lambda: _fail(Terminated("go on with --resume")), 143),
    ):
        with pytest.raises(SystemExit) as caught:
            run_cli(main)
        assert caught.value.code == status
    assert capsys.readouterr().err == "interrupted\ngo on with --resume\n"


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_cli(lambda: sys.exit(1 // 0))


def test_lists_in_messages_are_short() -> None:
    assert shortened([]) == ""
    assert shortened(["a", 2, "c"]) == "a, 2, c"
    assert shortened("abcdefg") == "a, b, c and 4 more"
    assert shortened("abcdefg", most=6) == "a, b, c, d, e, f and 1 more"


def test_one_problem_is_the_message_and_several_are_counted() -> None:
    assert listing("f.tsv", ["f.tsv:3: x"]) == "f.tsv:3: x"
    assert listing("f.tsv", ["a", "b"]) == "f.tsv: 2 problems:\n  a\n  b"
    assert listing("f.tsv", list("abc"), most=2) == "f.tsv: 3 problems, the first 2:\n  a\n  b"
