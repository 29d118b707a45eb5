import subprocess
import sys

from tests.support.paths import ROOT

COMMANDS = {"desed_task/report/__main__.py", "desed_task/detect/plots.py"}


def test_importing_the_report_needs_no_drawing_and_no_network_library() -> None:
    code = (
        "import sys, desed_task.report; "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_only_commands_of_the_library_import_the_report() -> None:
    paths = set((ROOT / "desed_task").rglob("*.py")) - set((ROOT / "desed_task/report").iterdir())
    importing = {
        path.relative_to(ROOT).as_posix()
        for path in paths
        if "desed_task.report" in path.read_text(encoding="utf-8")
    }
    assert importing == COMMANDS
