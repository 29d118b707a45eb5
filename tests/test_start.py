"""Commands start without PyTorch where they do not use it."""

import subprocess
import sys
from pathlib import Path

from tests.support.audio_files import write_tone
from tests.support.paths import ROOT

NETWORK = "torch", "torchaudio", "pytorch_lightning", "onnxruntime"
# Runs commands in one process, and prints the imported libraries after each.
RUN = """
import contextlib, runpy, sys
for line in sys.stdin:
    sys.argv = line.rstrip().split("\\t")
    with contextlib.redirect_stdout(None), contextlib.suppress(SystemExit):
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    print(sys.argv[0], *[name for name in {libraries} if name in sys.modules])
"""


def _commands() -> list[str]:
    """Modules that read a command line."""
    rooms = [ROOT / "desed_task", ROOT / "local", ROOT / "benchmarks"]
    paths = [path for room in rooms for path in room.rglob("*.py")] + [ROOT / "train_sed.py"]
    texts = {path.relative_to(ROOT).with_suffix(""): path.read_text() for path in sorted(paths)}
    found = [
        ".".join(path.parts)
        for path, text in texts.items()
        if "run_cli(" in text and '__name__ == "__main__"' in text
    ]
    assert {"train_sed", "local.collect", "local.generate", "local.export"} <= {*found}
    return found


def _imported(commands: list[list[str]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(libraries=NETWORK)],
        input="".join("\t".join(command) + "\n" for command in commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return done.stdout.splitlines()


def test_help_needs_no_network_library() -> None:
    commands = _commands()
    assert _imported([[name, "--help"] for name in commands]) == commands


def test_data_sets_are_made_without_a_network_library(tmp_path: Path) -> None:
    for number in range(3):
        write_tone(tmp_path / "audio" / f"{number}.flac", 2.0, 22050, channels=2)
        (tmp_path / "audio" / f"{number}.txt").write_text("0.5\t1.0\tBell\n")
    audio, made = str(tmp_path / "audio"), tmp_path / "made"
    collect = ["local.collect", f"--audio={audio}", f"--labels={audio}", f"--output={made}"]
    libraries = "desed_task.making.generate", "desed_task.making.soundbank"  # of local.generate
    assert _imported([collect, *([name] for name in libraries)]) == ["local.collect", *libraries]
    assert (made / "conf.yaml").is_file()
