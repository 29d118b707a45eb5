"""Mistakes and faults of the system become one message and an exit status."""

import errno
import getpass
import os
import pwd
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from desed_task.errors import (
    FaultError,
    InputError,
    Terminated,
    file_error,
    listing,
    named_folders,
    run_cli,
    shortened,
)
from tests.support.paths import ROOT


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


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, InputError),
        (errno.EISDIR, InputError),
        (errno.EACCES, FaultError),
        (errno.EMFILE, FaultError),
        (errno.EIO, FaultError),
    ],
)
def test_a_wrong_path_is_a_mistake_and_all_else_a_fault(number: int, kind: type) -> None:
    error = file_error("a.tsv", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error) == f"a.tsv: cannot be read: {os.strerror(number)}"


FAULTS = {
    "a permission": (PermissionError(13, "Permission denied", "/d/x.wav"), "/d/x.wav: Permission"),
    "no file name": (OSError(28, "No space left on device"), "/run: No space left on device"),
    "PyTorch": (RuntimeError("unable to write: No space left on device (28)\nat x.cc"), "(28)"),
    "ours": (FaultError("/d/y.wav: cannot be written: x", "/d/y.wav"), "/d/y.wav: cannot be"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_system_are_one_line_with_status_1(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error, expected = FAULTS[name]

    def main() -> None:
        with named_folders({"data.test_folder": "/d", "data.other": "/e"}, written="/run"):
            _fail(error)

    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert expected in message
    assert ("; data.test_folder may name another place" in message) == ("/d/" in message)


def test_a_fault_survives_the_closing_of_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning closes its loggers after an error; on a full disk that fails too."""

    def main() -> None:
        try:
            _fail(FaultError("last.ckpt: cannot be written", "last.ckpt"))
        finally:
            _fail(OSError(28, "No space left on device"))

    with pytest.raises(SystemExit):
        run_cli(main)
    assert capsys.readouterr().err == "error: last.ckpt: cannot be written\n"


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 do not fit"), ZeroDivisionError()])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_cli(lambda: _fail(error))


def test_lists_in_messages_are_short() -> None:
    assert shortened([]) == ""
    assert shortened(["a", 2, "c"]) == "a, 2, c"
    assert shortened("abcdefg") == "a, b, c and 4 more"
    assert shortened("abcdefg", most=6) == "a, b, c, d, e, f and 1 more"


def test_one_problem_is_the_message_and_several_are_counted() -> None:
    assert listing("f.tsv", ["f.tsv:3: x"]) == "f.tsv:3: x"
    assert listing("f.tsv", ["a", "b"]) == "f.tsv: 2 problems:\n  a\n  b"
    assert listing("f.tsv", list("abc"), most=2) == "f.tsv: 3 problems, the first 2:\n  a\n  b"


PROGRAMS = {
    "many lines": "run_cli(lambda: [print('line', n) for n in range(10_000)] and 0)",
    "at the end": "run_cli(lambda: (print('line'), time.sleep(0.5)) and 0)",
    "help": "run_cli(lambda: (print('line' * 5000), time.sleep(0.5), sys.exit(0)))",
    "in a folder": "run_cli(lambda: named_folders({}, 'out')(lambda: print('x' * 10**6))())",
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("errors", [subprocess.PIPE, subprocess.STDOUT])
def test_a_reader_that_leaves_ends_a_command_quietly(name: str, errors: int) -> None:
    """As `| head -1` and `2>&1 | head -1`."""
    code = (
        f"import sys, time\nfrom desed_task.errors import named_folders, run_cli\n{PROGRAMS[name]}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        if process.stderr is not None:
            assert process.stderr.read() == b""
        assert process.wait() == 141


def test_another_broken_pipe_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(SystemExit) as caught:
        run_cli(lambda: os.write(write, b"x"))
    os.close(write)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: Broken pipe\n"


def test_a_full_disk_below_the_standard_output() -> None:
    code = "from desed_task.errors import run_cli\nrun_cli(lambda: print('line'))"
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (ended.returncode, ended.stderr) == (1, "error: No space left on device\n")


def test_a_user_whom_the_system_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with a number; PyTorch asks for the name."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    names: list[str] = []
    with pytest.raises(SystemExit) as caught:
        run_cli(lambda: names.append(getpass.getuser()))
    assert not caught.value.code
    assert names == [str(os.getuid())]


WORKER = """Caught RuntimeError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in _worker_loop
RuntimeError: unable to allocate shared memory(shm) for file </torch_1_2_0>: Success (0)
"""
BUS_ERROR = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)


@pytest.mark.parametrize("text", [WORKER, BUS_ERROR])
def test_little_shared_memory(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        with named_folders({"--log_dir": "/runs"}, written="/runs"):
            raise RuntimeError(text)

    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: /dev/shm: ")
    assert "num_workers 0" in message
    assert message.count("\n") == 1
    assert "--log_dir" not in message
