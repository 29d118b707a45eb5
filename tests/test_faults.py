"""Five interruptions of `make faults`: a run that is resumed has the metrics of a whole one."""

import os
import subprocess
import sys

from tests.support.paths import ROOT


def test_an_interrupted_run_is_resumed_without_loss() -> None:
    """Kill -9 in preparation, saving and test, SIGTERM, files that cannot grow; kills while saving.

    Processes are forked, so in a process that has no threads yet.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.faults", "--quick", "--saves", "3"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    *rows, saves = done.stdout.splitlines()
    assert [row.split("status")[1].split()[:2] for row in rows] == [
        [status, "same"] for status in ("-9", "143", "-9", "-9", "1")
    ]
    assert "terminated: saved " in rows[1]
    assert "; resume with --resume_from_checkpoint " in rows[1]
    assert ".ckpt: cannot be written: File too large: needs 0." in rows[4]
    assert saves.endswith("3 of 3 times")
