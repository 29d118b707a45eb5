"""A run: one training and its test, or a test alone; its folder, state, command and result.

The folder of a run, `OUTPUT/runs/VARIANT/NAME-DIGEST`, is the `--log_dir` of `train_sed.py`. The
digest is that of the configuration, without what changes no result: another experiment has another
folder, and a finished run is found again.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desed_task.errors import FaultError, InputError
from desed_task.files import content_digest
from local.config.yaml_files import read_composed
from local.run.folders import (
    CHECKPOINTS,
    CONFIG_FILE,
    LAST_CHECKPOINT,
    TRAINING_SECONDS,
    run_folders,
)

if TYPE_CHECKING:
    from local.config.load import Config

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "train_sed.py"
BEST_CHECKPOINT = "best.ckpt"
METRICS = Path("metrics_test", "metrics.json")


@dataclass(frozen=True)
class Experiment:
    """What all runs of a study share.

    Args:
        conf_file: the configuration.
        overrides: `section.key=value` for all runs, before their own.
        output: folder of the study.
        gpus: `--gpus` of `train_sed.py`; None: its default.
        program: the command that trains; tests replace it.
    """

    conf_file: Path
    overrides: Sequence[str]
    output: Path
    gpus: int | None = None
    program: Sequence[str] = (sys.executable, str(TRAIN))

    def config(self, overrides: Sequence[str]) -> "Config":
        """The configuration with these overrides. Raises InputError."""
        from local.config.load import load_config  # seconds: --help of a study needs none

        return load_config(self.conf_file, overrides)

    def run(
        self,
        variant: str,
        seed: int,
        overrides: Sequence[str] = (),
        trained_by: "Run | None" = None,
    ) -> "Run":
        """The run of a variant with a seed.

        Raises InputError for overrides that the configuration refuses.
        """
        given = (*self.overrides, *overrides, f"training.seed={seed}")
        config = self.config(given)
        folder = self.output / "runs" / variant / f"seed_{seed}-{config.digest}"
        older = [*folder.parent.glob(f"seed_{seed}-*"), *self.output.glob(f"seed_{seed}")]
        folder = _existing(folder, older, config)
        return Run(self, f"{variant}:{seed}", variant, seed, given, config, folder, trained_by)

    def test_run(self, checkpoint: Path) -> "Run":
        """The run that tests a checkpoint file. Raises InputError or OSError."""
        config = self.config(self.overrides)
        folder = self.output / "runs" / "checkpoint"
        tested = content_digest(checkpoint)[:12]
        older = folder.glob(f"{tested}-*")
        folder = _existing(folder / f"{tested}-{config.digest}", older, config)
        given = tuple(self.overrides)
        seed = config.training.seed
        return Run(self, "checkpoint", "checkpoint", seed, given, config, folder, checkpoint)


@dataclass(frozen=True, eq=False)
class Run:
    """One variant with one seed.

    Args:
        experiment: what it shares with the other runs.
        name: in messages.
        variant: name of the variant.
        seed: `training.seed`.
        overrides: all `section.key=value`.
        config: the resolved configuration.
        folder: its `--log_dir`.
        tested: the checkpoint that it tests, or the run whose best checkpoint it tests; None: it
            trains.
    """

    experiment: Experiment = field(repr=False)
    name: str
    variant: str
    seed: int
    overrides: tuple[str, ...]
    config: "Config" = field(repr=False)
    folder: Path
    tested: "Run | Path | None" = None

    @property
    def trained_by(self) -> "Run | None":
        """The run that must be finished before this one can start."""
        return self.tested if isinstance(self.tested, Run) else None

    @property
    def result(self) -> Path | None:
        """Its newest `version_N` with metrics; None: not finished."""
        return _result(self.folder)

    @property
    def finished_folder(self) -> Path:
        """`result` of a finished run; raises ValueError for another."""
        if (folder := self.result) is None:
            raise ValueError(f"{self.name}: expected a finished run")
        return folder

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Content of a finished run's metrics.json."""
        return _metrics(self.finished_folder) or {}

    @property
    def training_seconds(self) -> float:
        """CPU seconds of a finished run's training. Raises InputError where they are not known."""
        seconds = self.metrics.get(f"test/student/{TRAINING_SECONDS}")
        if not isinstance(seconds, float) or not seconds:
            raise InputError(
                f"{self.finished_folder / METRICS}: test/student/{TRAINING_SECONDS}: expected "
                f"the CPU seconds of the training, got {seconds}"
            )
        return seconds

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint of an interrupted training; None: there is none."""
        folders = reversed(run_folders(self.folder).values())
        paths = (folder / CHECKPOINTS / LAST_CHECKPOINT for folder in folders)
        return next((path for path in paths if path.is_file()), None)

    @property
    def command(self) -> list[str]:
        """The command that starts it, resumes its newest checkpoint, or only tests."""
        experiment = self.experiment
        command = [*experiment.program, "--log_dir", str(self.folder)]
        if experiment.gpus is not None:
            command += ["--gpus", str(experiment.gpus)]
        tested = self.tested
        if isinstance(tested, Run):
            tested = tested.finished_folder / CHECKPOINTS / BEST_CHECKPOINT
        if tested is not None:
            command += ["--test_from_checkpoint", str(tested)]
        elif self.checkpoint is not None:
            command += ["--resume_from_checkpoint", str(self.checkpoint)]
        command += ["--conf_file", str(experiment.conf_file)]
        return [*command, *(part for each in self.overrides for part in ("--set", each))]


def _existing(folder: Path, older: Iterable[Path], config: "Config") -> Path:
    """The folder, or that of the same run with an earlier version's digest, finished ones first."""
    if folder.exists():
        return folder
    same = [each for each in sorted(older) if _stored_digests(each) == {config.digest}]
    finished = (each for each in same if _result(each) is not None)
    return next(finished, same[0] if same else folder)


def _result(log_dir: Path) -> Path | None:
    """The newest `version_N` with metrics."""
    folders = reversed(run_folders(log_dir).values())
    return next((folder for folder in folders if _metrics(folder) is not None), None)


def _stored_digests(log_dir: Path) -> set[str]:
    """Today's digests of the configurations that the runs in a folder stored."""
    digests = set()
    from local.config.load import stored_config

    for folder in run_folders(log_dir).values():
        path = folder / CONFIG_FILE
        with contextlib.suppress(InputError, FaultError):
            digests.add(stored_config(read_composed(path).values, str(path)).digest)
    return digests


def _metrics(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / METRICS).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
