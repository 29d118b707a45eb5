"""All subjects: one that fails loses nothing of the others."""

import shlex
from pathlib import Path

import pytest

from benchmarks import everything
from benchmarks.__main__ import SUBJECTS


def test_a_failing_subject_is_named_and_the_rest_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(subject: str, options: str, device: str, folder: Path) -> int:
        ran.append(subject)
        return 2 if subject == "memory" else 0

    monkeypatch.setattr(everything, "run", run)
    assert everything.main(["--json", str(tmp_path)]) == 1
    assert ran == list(everything.ON_A_CPU)
    assert "failed: memory;" in capsys.readouterr().out
    assert everything.main(["--json", str(tmp_path), "--only", "step"]) == 0
    assert ran[-1] == "step"


def test_status_and_old_figures_of_a_real_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inference.json").write_text("{}")
    assert everything.run("inference", "--rounds 0", "cpu", tmp_path) == 2
    assert "--rounds 0: 1 or more is right" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", [everything.ON_A_CPU, everything.ON_A_GPU])
def test_every_option_is_known(sizes: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each subject names all options it is run with."""
    for subject, options in sizes.items():
        with pytest.raises(SystemExit) as ended:
            SUBJECTS[subject](["--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        for part in shlex.split(options):
            if part.startswith("--"):
                assert part in shown, subject
        assert ("--device" in shown) == (subject not in everything.NO_DEVICE)


def test_all_subjects_are_run() -> None:
    assert everything.ON_A_CPU.keys() == SUBJECTS.keys() - {"all"}
