"""Five points of `make faults`: a run that is killed and resumed has the metrics of a whole one."""

import os
import re
import subprocess
import sys

from tests.support.paths import ROOT


def test_a_killed_run_is_resumed_without_loss() -> None:
    """Processes are forked, so in a process that has no threads yet."""
    command = [sys.executable, "-m", "tests.support.faults", "--quick"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = done.stdout.splitlines()
    assert [" same" in row for row in rows] == [True] * 7 + [False]
    assert [re.search(r"status +(-?\d+)", row)[1] for row in rows[:7]] == [  # type: ignore[index]
        *["-9"] * 5,
        "130",
        "1",
    ]
    assert "interrupted: saved" in rows[5]
    assert re.search(
        r"error: .*\.ckpt: cannot be written: File too large: needs 0\.\d+ MB", rows[6]
    )
    assert rows[7].endswith("old or new 5 of 5 times")
