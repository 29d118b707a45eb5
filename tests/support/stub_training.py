"""A program in place of train_sed.py, for tests of studies: it writes the files of a run.

Its metrics depend on the seed alone. With `opt.lr=0.5` it fails; with `opt.lr=0.25` it waits after
its first checkpoint until it is ended, unless it resumes or tests.
"""

import sys
from collections.abc import Sequence

_CODE = """
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
given = dict(zip(arguments, arguments[1:]))
print("threads", os.environ.get("OMP_NUM_THREADS"), *arguments)
if "opt.lr=0.5" in arguments:
    sys.exit("error: too fast")
log_dir = pathlib.Path(given["--log_dir"])
resumed = given.get("--resume_from_checkpoint")
run = pathlib.Path(resumed).parents[1] if resumed else log_dir / "version_0"
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "checkpoints" / "last.ckpt").touch()
(run / "checkpoints" / "best.ckpt").touch()
if "opt.lr=0.25" in arguments and not resumed and "--test_from_checkpoint" not in arguments:
    (log_dir / "waits").touch()
    time.sleep(60)
seeds = [int(each.split("=")[1]) for each in arguments if each.startswith("training.seed=")]
score = 0.4 + 0.01 * ((seeds or [2021])[-1] - 2021)
name = "test/student/psds1_sed_scores_eval"
metrics = {name: score, f"{name}/low": score - 0.1, f"{name}/high": score + 0.1}
(run / "metrics_test").mkdir()
(run / "metrics_test" / "metrics.json").write_text(json.dumps(metrics))
"""
STUB: Sequence[str] = (sys.executable, "-S", "-c", _CODE)
