import subprocess
import sys

from tests.support.paths import ROOT


def test_importing_the_report_needs_no_drawing_and_no_network_library() -> None:
    code = (
        "import sys, desed_task.report; "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
