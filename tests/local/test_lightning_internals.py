"""The version of Lightning whose private parts are used, and that they are as expected."""

import inspect
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader

from local.lightning_internals import (
    TESTED_VERSION,
    OwnTrainer,
    SingleProcess,
    ended_with_epoch,
    loss_scale,
    move_checkpoint_paths,
    read_local_files,
    restart_validation,
    save_last,
    saved_at_this_step,
    saves_at_epoch_end,
    skip_sigterm_broadcast,
    stepped_within_epoch,
    training_position,
)
from local.run.checkpoints import CheckpointFiles
from tests.support.paths import ROOT

BATCHES = 3


def test_version() -> None:
    assert pl.__version__ == TESTED_VERSION, (
        f"Lightning {pl.__version__}: local/lightning_internals.py was written for "
        f"{TESTED_VERSION}. Compare each of its functions with the new version's source, run "
        "tests/local/run, then raise TESTED_VERSION and the bound in pyproject.toml."
    )


class Model(pl.LightningModule):
    """One parameter; the validation metric falls, so that the first epoch is the best."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("metric", float(-self.current_epoch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(pl.Callback):
    """Answers of the functions after every batch and at the start of every epoch."""

    def __init__(self) -> None:
        self.positions: list[tuple[int, int]] = []
        self.within: list[bool] = []
        self.saved: list[bool] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.saved.append(saved_at_this_step(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.positions.append(training_position(trainer))
        self.within.append(stepped_within_epoch(trainer))


def fit(
    folder: Path, *callbacks: pl.Callback, resume: Path | None = None, **options: Any
) -> pl.Trainer:
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=[*callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    batches: Any = torch.zeros(BATCHES, 1)
    loader = DataLoader(batches)
    trainer.fit(Model(), loader, loader, ckpt_path=resume, weights_only=True)
    return trainer


def keeper(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(str(folder), "best", monitor="metric", mode="max", save_last=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watch, pl.Trainer]:
    folder, watch = tmp_path_factory.mktemp("internals"), Watch()
    return folder, watch, fit(folder, watch, keeper(folder))


def test_positions(run: tuple[Path, Watch, pl.Trainer]) -> None:
    watch = run[1]
    assert watch.positions == [(epoch, done) for epoch in (0, 1) for done in (1, 2, 3)]
    assert watch.within == [True, True, False] * 2
    assert watch.saved == [False, True]


def test_accumulated_batches_are_no_step(tmp_path: Path) -> None:
    watch = Watch()
    fit(tmp_path, watch, keeper(tmp_path), accumulate_grad_batches=2)
    assert watch.within == [False, True, False] * 2


def test_last_is_saved_only_with_the_best_unless_asked_to(
    run: tuple[Path, Watch, pl.Trainer],
) -> None:
    folder, _, trainer = run
    last = folder / "last.ckpt"
    checkpoints: Any = trainer.checkpoint_callback
    assert saves_at_epoch_end(checkpoints, trainer)
    assert torch.load(last, weights_only=True)["global_step"] == BATCHES
    save_last(checkpoints, trainer)
    assert torch.load(last, weights_only=True)["global_step"] == 2 * BATCHES


def test_best_checkpoint_of_a_moved_run(
    run: tuple[Path, Watch, pl.Trainer], tmp_path: Path
) -> None:
    folder, _, trainer = run
    moved = tmp_path / "best.ckpt"
    moved.write_bytes((folder / "best.ckpt").read_bytes())
    state = trainer.checkpoint_callback.state_dict()  # type: ignore[union-attr]
    found = keeper(tmp_path)
    at_new_place = move_checkpoint_paths(state, tmp_path)
    assert at_new_place is not None
    found.load_state_dict(at_new_place)
    assert found.best_model_path == str(moved)
    assert set(found.best_k_models) == {str(moved)}
    assert float(found.best_model_score) == 0  # type: ignore[arg-type]
    assert str(folder) not in str(at_new_place)  # neither read nor replaced
    moved.unlink()
    assert move_checkpoint_paths(state, tmp_path) is None


def test_progress_in_a_checkpoint(run: tuple[Path, Watch, pl.Trainer], tmp_path: Path) -> None:
    folder = run[0]
    content = torch.load(folder / "best.ckpt", weights_only=True)
    assert ended_with_epoch(content)

    class Saved(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    fit(tmp_path, Saved(), enable_checkpointing=False)
    assert not ended_with_epoch(torch.load(tmp_path / "middle.ckpt", weights_only=True))


def test_a_validation_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "validating.ckpt"

    class Validation(pl.Callback):
        """Saves after the first batch of the first validation."""

        def __init__(self, saves: bool) -> None:
            self.saves = saves
            self.batches: list[tuple[int, int]] = []

        def on_validation_batch_end(
            self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int, *_: Any
        ) -> None:
            self.batches.append((trainer.current_epoch, number))
            if self.saves and len(self.batches) == 1:
                trainer.save_checkpoint(path)

    fit(tmp_path, Validation(saves=True), enable_checkpointing=False)
    content = torch.load(path, weights_only=True)
    restart_validation(content)
    torch.save(content, path)
    resumed = Validation(saves=False)
    trainer = fit(tmp_path, resumed, resume=path, enable_checkpointing=False)
    assert resumed.batches == [(epoch, number) for epoch in (0, 1) for number in range(BATCHES)]
    assert trainer.global_step == 2 * BATCHES


def test_no_broadcast_before_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = fit(tmp_path, enable_checkpointing=False)
    loop: Any = trainer.fit_loop.epoch_loop
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(type(loop).advance)
    broadcasts: list[int] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: broadcasts.append(1))
    loop._broadcast_sigterm_tensor()
    assert len(broadcasts) == 1
    skip_sigterm_broadcast(trainer)
    loop._broadcast_sigterm_tensor()
    assert len(broadcasts) == 1


def test_scale_without_a_scaler(run: tuple[Path, Watch, pl.Trainer]) -> None:
    assert loss_scale(run[2]) == 1


def test_no_other_file_uses_a_private_part() -> None:
    """Attributes of Lightning's objects with an underscore, and the loops' progress."""
    private = re.compile(
        r"(trainer|loop|callback|super\(\))\._[a-z]|batch_progress|epoch_loop"
        r"|_should_|_save_last|_monitor_candidates|precision_plugin"
    )
    for path in [*(ROOT / "local").rglob("*.py"), *(ROOT / "desed_task").rglob("*.py")]:
        if path.name != "lightning_internals.py":
            assert not private.search(path.read_text()), path


def fit_own(folder: Path, **options: Any) -> pl.Trainer:
    read_local_files()
    trainer = OwnTrainer(
        folder,
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        logger=[CSVLogger(str(folder), name="csv")],
        callbacks=[keeper(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[SingleProcess(), CheckpointFiles()],
        log_every_n_steps=1,
        **options,
    )
    batches: Any = torch.zeros(BATCHES, 1)
    loader = DataLoader(batches)
    trainer.fit(Model(), loader, loader, weights_only=True)
    return trainer


def slurm_job(patch: pytest.MonkeyPatch) -> None:
    """The variables of a batch job of four tasks that starts one process, and of other runs."""
    job = {"NTASKS": "4", "JOB_ID": "17", "PROCID": "3", "LOCALID": "3", "NODEID": "1"}
    variables = {f"SLURM_{name}": value for name, value in job.items()}
    variables |= {"SLURM_JOB_NAME": "sed", "RANK": "2", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
    for name, value in variables.items():
        patch.setenv(name, value)


def test_a_slurm_job_changes_nothing(
    run: tuple[Path, Watch, pl.Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's checkpoint in the current folder, a cluster's variables and its signal."""
    here, folder = tmp_path / "here", tmp_path / "run"
    here.mkdir()
    folder.mkdir()
    (here / "hpc_ckpt_3.ckpt").write_bytes((run[0] / "last.ckpt").read_bytes())
    (folder / "hpc_ckpt_3.ckpt").write_bytes((run[0] / "last.ckpt").read_bytes())
    monkeypatch.chdir(here)
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # as Lightning read it when it was imported
    slurm_job(monkeypatch)
    handlers: list[Any] = []

    class Signals(pl.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGUSR1))

    before = signal.getsignal(signal.SIGUSR1)
    variables = dict(os.environ)
    trainer = fit_own(folder)
    assert trainer.current_epoch == 2
    assert trainer.global_step == 2 * BATCHES  # not those after the other run's
    assert (folder / "csv" / "version_0" / "metrics.csv").is_file()  # as the only process
    assert [path.name for path in here.iterdir()] == ["hpc_ckpt_3.ckpt"]
    trainer.callbacks.append(Signals())  # type: ignore[attr-defined]
    trainer.fit_loop.max_epochs = 3
    batches: Any = torch.zeros(BATCHES, 1)
    trainer.fit(Model(), DataLoader(batches), DataLoader(batches))
    assert handlers == [before] * BATCHES
    trainer.test(TestedModel(), DataLoader(batches), verbose=False)
    assert dict(os.environ) == variables


class TestedModel(Model):
    __test__ = False

    def test_step(self, batch: Any, number: int) -> None:
        assert float(self.weight) == 0


OPTIONS = {
    "MAX_STEPS": "1",
    "MAX_TIME": "00:00:00:00",
    "OVERFIT_BATCHES": "1",
    "FAST_DEV_RUN": "True",
    "LIMIT_TRAIN_BATCHES": "1",
    "MIN_EPOCHS": "5",
    "PRECISION": "bf16-true",
    "DETECT_ANOMALY": "True",
    "DEFAULT_ROOT_DIR": "elsewhere",
    "RELOAD_DATALOADERS_EVERY_N_EPOCHS": "1",
}


def test_variables_of_the_trainer_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OPTIONS.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    trainer = fit_own(tmp_path)
    assert trainer.global_step == 2 * BATCHES
    assert trainer.precision == "32-true"
    assert trainer.default_root_dir == str(tmp_path)
    assert not trainer.fast_dev_run  # type: ignore[attr-defined]
    assert not torch.is_anomaly_enabled()


def test_every_path_is_one_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "a::b" / "memory::c [x] {0} %s $HOME #1 k=v\n'\"?*\\"
    folder.mkdir(parents=True)
    fit_own(folder)
    content = torch.load(folder / "last.ckpt", weights_only=True)
    state = next(iter(content["callbacks"].values()))
    assert state["best_model_path"] == str(folder / "best.ckpt")
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt", "csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["a::b"]
