"""Windows and macOS, as far as Linux can imitate them: modules and functions that they lack."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

# Third-party packages decide by `sys.platform` and are imported before; our modules must not need
# what is removed here.
IMPORTS = """
import os, pkgutil, signal, sys
from importlib import import_module
import filelock, matplotlib.pyplot, pandas, pytorch_lightning, scipy.signal, sklearn.metrics, torch
import torch.utils.tensorboard
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "fork", "killpg", "getuid", "statvfs", "O_DIRECTORY"):
    delattr(os, name)
for name in ("alarm", "SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "sigtimedwait"):
    delattr(signal, name)
import desed_task, local, train_sed
for package in (desed_task, local):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            import_module(module.name)

from pathlib import Path
from desed_task import files, processor
from local.loading import outlive_sigterm
from local.run import folders
import filelock._unix
def missing(descriptor):
    raise OSError(38, "Function not implemented")
filelock._unix.lock_fd_nonblocking = missing
assert processor.cores() == os.cpu_count()
processor.keep_freed_memory()
outlive_sigterm(0)
run = folders.new_run_folder(Path(sys.argv[1]))
with folders.claimed(run, new=True), files.atomic_folder(run / "model") as folder:
    files.write_file(folder / "a.txt", "a")
print((run / "model" / "a.txt").read_text())
"""


def test_everything_is_imported_and_files_are_written_without_posix(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr
