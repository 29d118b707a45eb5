"""One run: training, resuming and testing."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tqdm import tqdm

from desed_task.desed import SYNTHETIC_VALIDATION
from desed_task.errors import InputError
from desed_task.files import write_file
from desed_task.model import save_model
from desed_task.process_group import first_rank_first, from_first_rank, leave, rank, summed
from local.audio_sets import test_sets
from local.config.load import Config
from local.data import DesedDataModule
from local.encoders import DIGEST_KEY, as_trained, configured_encoder
from local.lightning_internals import OwnTrainer, read_local_files
from local.rank_state import seed_everything
from local.results.baseline import (
    BASELINE,
    CLASSIFIER_KEY,
    Baseline,
    fit_baseline,
    load_baseline,
)
from local.results.files import WrittenResults, write_results
from local.results.model import trained_model
from local.results.postprocessing import (
    CHECKPOINT_KEY,
    dump_tuned,
    is_tuned,
    needs_validation,
    tune_networks,
)
from local.results.predictions import SetPredictions
from local.results.review import write_label_review
from local.run.callbacks import Checkpoints, EarlyStopping, Pictures, TrainingTime
from local.run.checkpoints import (
    CheckpointFiles,
    add_to_checkpoint,
    read_checkpoint,
)
from local.run.description import describe
from local.run.folders import CHECKPOINTS, CONFIG_FILE, LAST_CHECKPOINT, TRAINING_SECONDS
from local.run.machine import Machine
from local.run.preemption import Preemption
from local.run.progress import Progress
from local.run.resuming import check_resumable
from local.run.weights import load_tested, start_from
from local.sed_trainer import SELECTION_METRIC, CrossTaskSED

MISSING_FILE = "missing_clips.txt"
MODEL = "model"
LOG_INTERVAL = 10  # steps
FAST_BATCHES = 2


def make_trainer(
    config: Config,
    machine: Machine,
    run: Path,
    *,
    log_interval: int = LOG_INTERVAL,
    fast: bool = False,
) -> pl.Trainer:
    """Lightning's trainer with the run's loggers, checkpoints and progress.

    Args:
        config: the experiment.
        machine: the devices.
        run: the run's folder.
        log_interval: optimiser steps between two rows of the loggers.
        fast: one epoch, with two batches of everything instead of all.
    """
    training, is_validated = config.training, config.is_validated
    limit = FAST_BATCHES if fast else 1.0
    run = run.resolve()
    read_local_files()
    tensorboard = RunTensorBoard(str(run.parent), name="", version=run.name)
    preemption = Preemption(run / CHECKPOINTS / LAST_CHECKPOINT)
    update = LOG_INTERVAL if machine.gpus else 1
    callbacks: list[Callback] = [
        Progress(SELECTION_METRIC, update, preemption.note_closed_output),
        Checkpoints(
            dirpath=str(run / CHECKPOINTS),  # a plain text, as its state is saved
            filename="best",
            monitor=SELECTION_METRIC if is_validated else None,  # None: the last one is the best
            mode="max",
            save_last=True,
            enable_version_counter=False,
        ),
        Pictures(config),
        TrainingTime(),
        preemption,
    ]
    if is_validated:
        patience = training.early_stop_patience
        callbacks.append(EarlyStopping(SELECTION_METRIC, mode="max", patience=patience))
    options = machine.trainer_options(config)
    plugins = [*options.pop("plugins"), CheckpointFiles(fast=fast)]
    return OwnTrainer(
        run,
        benchmark=bool(machine.gpus),  # cuDNN's fastest convolutions for shapes that do not change
        max_epochs=1 if fast else training.n_epochs,
        limit_train_batches=limit,
        limit_val_batches=limit if is_validated else 0,
        limit_test_batches=limit,
        check_val_every_n_epoch=1 if fast or not is_validated else training.validation_interval,
        accumulate_grad_batches=training.accumulate_batches,
        gradient_clip_val=training.gradient_clip or None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=[tensorboard, CSVLogger(str(run), name="csv")],
        log_every_n_steps=log_interval,
        callbacks=callbacks,
        enable_progress_bar=False,  # Lightning's; `Progress` is ours
        enable_model_summary=False,
        plugins=plugins,
        **options,
    )


class RunTensorBoard(TensorBoardLogger):
    """Writes into the run's folder; Lightning would expand `$NAME` in its path."""

    @property
    def log_dir(self) -> str:
        """The run's folder."""
        return str(Path(self.root_dir) / str(self.version))


class Training(NamedTuple):
    """Trainer, networks and data of a fit."""

    trainer: pl.Trainer
    module: CrossTaskSED
    data: DesedDataModule


def fit(
    config: Config,
    machine: Machine,
    run: Path,
    resume: Path | None,
    *,
    initial: Path | None = None,
    check: bool = False,
    fast: bool = False,
) -> WrittenResults | None:
    """Train, then test the best checkpoint; process 0 gets the results, the others None.

    Without a set that validates, the best checkpoint is the last one.

    Args:
        config: the experiment.
        machine: the devices.
        run: the run's folder.
        resume: a checkpoint of this project to resume from.
        initial: a checkpoint, ours or published, whose weights a new training starts from.
        check: compute the test's metrics with other libraries as well.
        fast: one epoch, with two batches of everything instead of all.
    """
    trainer, module, data = prepare_fit(config, machine, run, resume, initial=initial, fast=fast)
    config = module.config
    resumed = None if resume is None else resume.absolute()
    trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
    seconds = training_seconds(trainer)
    best: str = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    from_first_rank(lambda: _check_trained(best, config, resume))
    untested = f"No test set (data.test_folder: null); the model has the weights of {best}"
    print_once(f"Testing {best}" if data.test_sets else untested)
    trainer.test(module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
    leave()
    if rank() > 0:
        return None
    content: dict[str, Any] = {TRAINING_SECONDS: seconds}
    baseline = None
    if config.training.baseline:
        baseline = load_baseline(read_checkpoint(best), config, best)  # of a run that had ended
        if baseline is None:
            baseline = fit_baseline(data.training, config)
            content[CLASSIFIER_KEY] = baseline.stored()
    predictions = complete_predictions(module, data, seconds, baseline)
    tuned = {}
    if needs_validation(config):
        validation = predictions[SYNTHETIC_VALIDATION]
        tuned = tune_networks(validation, data.validation_truth, config)
        content[CHECKPOINT_KEY] = dump_tuned(tuned)
    add_to_checkpoint(Path(best), content)
    model = trained_model(module, "student", tuned.get("student"), Path(best).name)
    save_model(run / MODEL, model)
    if config.postprocess.review_labels and SYNTHETIC_VALIDATION in data.labelled:
        student = predictions[SYNTHETIC_VALIDATION]["student"]
        labelled = data.labelled[SYNTHETIC_VALIDATION]
        print(write_label_review(run, model.description, student, labelled, config))
    return write_results(predictions, data.test_sets, config, run, tuned, check=check)


def prepare_fit(
    config: Config,
    machine: Machine,
    run: Path,
    resume: Path | None,
    *,
    initial: Path | None = None,
    fast: bool = False,
) -> Training:
    """Prepare the data, make networks and trainer, describe them; arguments as of `fit`.

    Process 0 checks and writes before the others read.
    """
    validates = needs_validation(config) or bool(config.postprocess.review_labels)
    device = "cuda" if machine.gpus else "cpu"
    data = DesedDataModule(
        config, config.grid, run / MISSING_FILE, tune=validates, checkpoint=resume, device=device
    )

    def prepare_data() -> tuple[str | None, str | None]:
        """Digests of the encoder of the resumed checkpoint, and of the stored embeddings."""
        if resume is not None:
            check_resumable(config, resume)
            data.encoder_digest = read_checkpoint(resume).get(DIGEST_KEY)
        expected = data.encoder_digest
        save_config(as_trained(config), run)
        data.prepare_data()
        return expected, data.encoder_digest

    expected, data.encoder_digest = from_first_rank(prepare_data)
    first_rank_first(lambda: data.setup("fit"))
    loader = data.train_dataloader()
    batches = min(len(loader), FAST_BATCHES) if fast else len(loader)
    trainer = make_trainer(config, machine, run, log_interval=min(LOG_INTERVAL, batches), fast=fast)
    steps = -(-len(loader) // config.training.accumulate_batches)
    # It may use random numbers.
    encoder = first_rank_first(lambda: configured_encoder(config, expected, resume))
    seed_everything(config.training.seed)
    module = CrossTaskSED(as_trained(config), steps, encoder, data.encoder_digest)
    if rank() > 0:  # the same weights, but other dropout masks
        seed_everything(config.training.seed + rank())
    has_statistics = resume is not None or config.scaler.statistic != "dataset"
    if initial is not None:
        line, scaler_loaded = first_rank_first(lambda: start_from(module, initial))
        print_once(line)
        has_statistics = has_statistics or scaler_loaded
    if not has_statistics:
        fit_scaler(module, itertools.islice(loader, batches))
    print_once(describe(module, machine, steps))
    return Training(trainer, module, data)


def _check_trained(best: str, config: Config, resume: Path | None) -> None:
    """Raise InputError where a resumed run trained no epoch and its best checkpoint is missing."""
    if not Path(best).is_file():
        raise InputError(
            f"--resume_from_checkpoint {resume}: no epoch left to train: expected "
            f"training.n_epochs above {config.training.n_epochs}; or test it with "
            "--test_from_checkpoint"
        )


def test(
    config: Config,
    machine: Machine,
    run: Path,
    checkpoint: Path,
    *,
    check: bool,
    fast: bool,
) -> WrittenResults | None:
    """Test a checkpoint, ours or published; process 0 gets the results, the others None.

    Post-processing that the checkpoint does not have is tuned, chosen and calibrated first, on the
    synthetic validation set; the checkpoint does not change.
    """
    given = config
    module, tuned, baseline, seconds = first_rank_first(lambda: load_tested(given, checkpoint))
    config = module.config
    if not test_sets(config):
        raise InputError("data.test_folder: a test needs a test set: expected a folder, got null")
    if not config.training.baseline:
        baseline = None
    elif baseline is None:
        print_once(f"No baseline in {checkpoint}: it was trained without training.baseline")
    if rank() == 0:
        save_config(config, run)
    trainer = make_trainer(config, machine, run, fast=fast)
    networks = [*module.networks, *([] if baseline is None else [BASELINE])]
    tune = not is_tuned(tuned, networks, config)
    data = DesedDataModule(
        given,
        given.grid,
        run / MISSING_FILE,
        tune=tune,
        encoder_digest=module.encoder_digest,
        checkpoint=checkpoint,
        device="cuda" if machine.gpus else "cpu",
    )
    trainer.test(module, datamodule=data, verbose=False)
    leave()
    if rank() > 0:
        return None
    predictions = complete_predictions(module, data, seconds, baseline)
    if tune:
        validation = predictions[SYNTHETIC_VALIDATION]
        tuned = tune_networks(validation, data.validation_truth, config)
    return write_results(predictions, data.test_sets, config, run, tuned, check=check)


def training_seconds(trainer: pl.Trainer) -> float:
    """CPU seconds of a trainer's fit so far, in this process."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next(each.seconds for each in callbacks if isinstance(each, TrainingTime))


def complete_predictions(
    module: CrossTaskSED,
    data: DesedDataModule,
    seconds: float | None,
    baseline: Baseline | None,
) -> Mapping[str, Mapping[str, SetPredictions]]:
    """The networks' predictions of a test with their training's CPU seconds, and the baseline's."""
    for name, by_network in module.test_predictions.items():
        for predictions in by_network.values():
            predictions.training_seconds = seconds
        if baseline is not None:
            clips, names = data.labelled[name].clips, by_network["student"].names
            by_network[BASELINE] = baseline.predict(clips, names, module.config)
    return module.test_predictions


def fit_scaler(module: CrossTaskSED, loader: Any) -> None:
    """Compute the scaler's statistics from one epoch of all processes' training clips."""
    title = "Statistics of the training set"
    batches = tqdm(loader, desc=title, unit="batch", disable=rank() > 0)
    features = (module.log_mel(batch.with_float_audio().audio) for batch in batches)
    module.scaler.fit(features, summed)


def print_once(text: str) -> None:
    """Print a text in process 0."""
    if rank() == 0:
        print(text)


def save_config(config: Config, run: Path) -> None:
    """Write the resolved configuration into the run's folder."""
    write_file(run / CONFIG_FILE, config.to_yaml())
