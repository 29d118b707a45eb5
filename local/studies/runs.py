"""The runs of an ablation: their folders, their state, and the commands that advance them.

A run is one variant with one seed. Its folder `OUTPUT/runs/VARIANT/seed_N-DIGEST` is the
`--log_dir` of `train_sed.py`; the digest is that of the whole configuration, so that a changed
experiment gets new folders and a finished run is found again.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from desed_task.errors import InputError
from desed_task.postprocess.methods import MEDIAN
from local.config.load import Config, load_config
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, run_folders
from local.studies.variants import Ablation

TRAIN = Path(__file__).parents[2] / "train_sed.py"
BEST_CHECKPOINT = "best.ckpt"
METRICS = Path("metrics_test", "metrics.json")


@dataclass(frozen=True)
class Experiment:
    """What all runs share.

    Args:
        conf_file: the configuration.
        overrides: `section.key=value` for all runs, before those of the variants.
        output: folder of the ablation.
        program: the command that trains, in place of which tests put their own.
    """

    conf_file: Path
    overrides: Sequence[str]
    output: Path
    program: Sequence[str] = (sys.executable, str(TRAIN))


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Args:
        variant: its name.
        seed: `training.seed`.
        overrides: all `section.key=value`.
        config: the resolved configuration.
        folder: the `--log_dir` of the run.
        trained_by: the run whose best checkpoint this one tests; None: it trains its own.
    """

    variant: str
    seed: int
    overrides: tuple[str, ...]
    config: Config = field(repr=False)
    folder: Path
    trained_by: "Run | None" = None

    @property
    def name(self) -> str:
        """`VARIANT:SEED`, as `--run` takes it."""
        return f"{self.variant}:{self.seed}"

    @property
    def result(self) -> Path | None:
        """Its newest `version_N` with the metrics of this configuration; None: not finished."""
        for folder in reversed(run_folders(self.folder).values()):
            if self._is_result(folder / METRICS):
                return folder
        return None

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint of an interrupted training; None: there is none."""
        for folder in reversed(run_folders(self.folder).values()):
            path = folder / CHECKPOINTS / LAST_CHECKPOINT
            if path.is_file():
                return path
        return None

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint that the test of a finished training used."""
        folder = self.result
        return None if folder is None else folder / CHECKPOINTS / BEST_CHECKPOINT

    def _is_result(self, metrics: Path) -> bool:
        try:
            content = json.loads(metrics.read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(content, dict) and content.get("config_digest") == self.config.digest


def plan(ablation: Ablation, experiment: Experiment, seeds: Sequence[int]) -> list[Run]:
    """All runs, seed after seed, so that an interrupted ablation has whole seeds.

    A run that only tests follows the one that trains for it.
    Raises InputError for overrides that the configuration refuses.
    """
    runs: list[Run] = []
    for seed in seeds:
        by_variant: dict[str, Run] = {}
        for name in sorted(ablation.variants, key=lambda each: _order(ablation, each)):
            test_of = ablation.variants[name].test_of
            given = (*experiment.overrides, *ablation.overrides(name), f"training.seed={seed}")
            config = load_config(experiment.conf_file, given)
            _check_scored(config, name)
            folder = experiment.output / "runs" / name / f"seed_{seed}-{config.digest}"
            trained_by = None if test_of is None else by_variant[test_of]
            by_variant[name] = Run(name, seed, given, config, folder, trained_by)
        runs += by_variant.values()
    return runs


def _check_scored(config: Config, variant: str) -> None:
    first = config.postprocess.methods[0]
    if first != MEDIAN:
        raise InputError(
            f"variants.{variant}: postprocess.methods: expected {MEDIAN} first, whose parameters "
            f"need no tuning, got {first}"
        )


def _order(ablation: Ablation, name: str) -> tuple[int, bool]:
    """Position among the trained variants; a variant that only tests follows the trained one."""
    names = list(ablation.variants)
    test_of = ablation.variants[name].test_of
    return names.index(test_of or name), test_of is not None


def command(run: Run, experiment: Experiment) -> list[str]:
    """The command that starts a run, resumes its newest checkpoint, or tests another's best."""
    program = [*experiment.program, "--log_dir", str(run.folder)]
    settings = [argument for each in run.overrides for argument in ("--set", each)]
    if run.trained_by is not None:
        best = run.trained_by.best_checkpoint
        own = ["--conf_file", str(experiment.conf_file), *settings]
        return [*program, "--test_from_checkpoint", str(best), *own]
    if run.checkpoint is not None:
        return [*program, "--resume_from_checkpoint", str(run.checkpoint)]
    return [*program, "--conf_file", str(experiment.conf_file), *settings]
