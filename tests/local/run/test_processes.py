"""Several processes train as one: two of them, on the CPU, over gloo."""

import itertools
import json
import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from desed_task import process_group
from desed_task.encoder.sources import load_encoder
from desed_task.errors import TERMINATED, USAGE_ERROR, InputError
from desed_task.frames import FrameGrid
from desed_task.ranks import Ranks, launched_ranks
from local.config.load import Config
from local.data import DesedDataModule
from local.encoders import configured_encoder
from local.rank_state import random_state, restore_rank, running_statistics
from local.run import launch
from local.run.checkpoints import read_checkpoint
from local.run.experiment import fit_scaler
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.launch import check_ranks, start_processes
from local.run.machine import Machine
from local.run.resuming import check_resumable
from local.sed_trainer import CrossTaskSED
from tests.support.compare import assert_equal
from tests.support.given_batches import PLAIN, given_batch, gradients
from tests.support.paths import CONFS, ROOT
from tests.support.program import Program
from tests.support.tiny import SIZES, make_data, overrides, tiny_config
from tests.support.tiny_encoder import CACHED, DIMENSION, tiny_encoder_settings
from tests.support.tiny_transformer import TRAINED
from tests.support.training import CPU, metrics, train
from tests.support.two_processes import MOMENTS, SETTINGS, STANDARD
from train_sed import main

# One process with the batches of two.
DOUBLED = ("training.batch_size=[2, 2, 2]", "training.batch_size_val=1")
QUICK = ("postprocess.bootstrap_replicates=0", "training.n_epochs=1", "training.backend=ddp")


LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "MASTER_", "PL_", "SLURM_", "OMP_")


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without what other tests or launchers left in it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHED)}
    return own | {"OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def torchrun_environment(rank: int) -> dict[str, str]:
    """Variables that torchrun sets for one of two processes."""
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return own | shared | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def slurm_environment(rank: int, port: str) -> dict[str, str]:
    """Variables that `srun` sets for one of two processes on one node."""
    shared = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_JOB_ID": "4"}
    shared["SLURM_NTASKS"] = "2"  # without SLURM_NTASKS_PER_NODE, as of `srun --ntasks 2`
    shared |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
    return shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}


def start(arguments: Sequence[str], **variables: str) -> Program:
    return Program(arguments, environment(**variables))


def wait(*running: Program) -> list[tuple[int, str, str]]:
    """Status, output and messages of each."""
    ended = [program.wait() for program in running]
    return [(each.returncode, each.stdout, each.stderr) for each in ended]


def command_line(data: Path, log_dir: Path, *more: str, gpus: int = 0) -> list[str]:
    sets = [f"--set={text}" for text in overrides(data, *QUICK, *more)]
    given = ["--conf_file", str(CONFS / "demo.yaml"), "--log_dir", str(log_dir)]
    return [*given, "--gpus", str(gpus), *sets]


# ---- trained by two processes ----------------------------------------------------------------


class TwoProcesses(NamedTuple):
    """Folder and exit of `tests.support.two_processes train`, and the records of both processes."""

    folder: Path
    status: int
    message: str
    records: list[dict[str, Any]]


@pytest.fixture(scope="module")
def two(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TwoProcesses:
    folder = tmp_path_factory.mktemp("two")
    program = ["-m", "tests.support.two_processes", "train", str(tiny_data), str(folder)]
    [(status, _, message)] = wait(start(program))
    files = [folder / f"rank_{rank}.pt" for rank in range(2)]
    assert all(path.is_file() for path in files), message
    return TwoProcesses(
        folder, status, message, [torch.load(path, weights_only=True) for path in files]
    )


@pytest.fixture
def records(two: TwoProcesses) -> list[dict[str, Any]]:
    """What each process recorded."""
    return two.records


def test_a_mistake_in_one_process_ends_all_with_its_status(two: TwoProcesses) -> None:
    assert two.status == USAGE_ERROR
    assert two.message.count("error: ") == 1
    assert "error: clip.wav: cannot be read\n" in two.message
    assert "Traceback" not in two.message


def test_shares_of_an_epoch_are_disjoint_and_complete(records: list[dict[str, Any]]) -> None:
    """The epoch ends when both processes together used up the smallest set."""
    shares = [record["whole"]["clips"] for record in records]
    assert [len(share) for share in shares] == [4, 4]  # 2 epochs of 2 steps
    for epoch in (slice(0, 2), slice(2, 4)):
        steps = itertools.chain.from_iterable(share[epoch] for share in shares)
        drawn = Counter(itertools.chain.from_iterable(steps))
        assert set(drawn.values()) == {1}
        kinds = Counter(name.rsplit("_", 1)[0] for name in drawn)
        assert kinds == {"soundscape_train": 4, "weak": 4, "unlabelled": 4}
        assert kinds["soundscape_train"] == SIZES["synthetic"]
    for share in shares:
        for batch in share:
            kinds = Counter(name.rsplit("_", 1)[0] for name in batch)
            assert kinds == {"soundscape_train": 1, "weak": 1, "unlabelled": 1}


def test_students_and_teachers_are_bit_equal(records: list[dict[str, Any]]) -> None:
    """Parameters and, after a validation, the statistics of batch norm."""
    first, second = (record["whole"]["weights"] for record in records)
    assert_equal(first, second)
    assert {name.split(".")[1] for name in first if "running_var" in name} == {"student", "teacher"}
    head = "{}.strong_head.weight".format
    assert not torch.equal(first[head("networks.student")], first[head("networks.teacher")])
    assert_equal(*(record["fewer terms"] for record in records))


def test_processes_draw_their_own_numbers(records: list[dict[str, Any]]) -> None:
    first, second = (record["whole"] for record in records)
    assert first["seeds"] == (2021, 2021)  # as in a single process
    assert second["seeds"] == (2022, 2022)
    assert first["next"][0] != second["next"][0]
    assert first["next"][1] != second["next"][1]


def test_validation_gives_the_metrics_of_one_process(
    records: list[dict[str, Any]], tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, *DOUBLED)
    module = CrossTaskSED(config)
    module.load_state_dict(records[0]["whole"]["weights"])
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    trainer.validate(module, datamodule=data, verbose=False)
    single = metrics(trainer)
    assert {"val/student/weak_f1_macro", "val/teacher/psds1", "val/teacher/loss_weak"} <= set(
        single
    )
    for record in records:
        assert record["whole"]["validation"] == pytest.approx(single, abs=1e-6)


@pytest.mark.parametrize("number_of_batches", [1, 2])
def test_gradients_are_those_of_one_process_with_the_whole_batch(
    number_of_batches: int, records: list[dict[str, Any]], tiny_data: Path
) -> None:
    """Also where two batches are accumulated."""
    batches = [given_batch(tiny_config(tiny_data), seed) for seed in (3, 4)][:number_of_batches]
    whole = gradients(tiny_config(tiny_data, *PLAIN, *TRAINED), batches)
    assert any(name.startswith("encoders.student.") for name in whole)
    name = ["one batch", "two batches"][number_of_batches - 1]
    shared = [record["gradients"][name] for record in records]
    assert_equal(*shared)
    assert whole.keys() == shared[0].keys()
    assert sum(float(gradient.abs().sum()) > 0 for gradient in whole.values()) > 20
    for name, gradient in whole.items():
        torch.testing.assert_close(shared[0][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_scaler_uses_the_clips_of_all_processes(
    records: list[dict[str, Any]], tiny_data: Path
) -> None:
    config = tiny_config(tiny_data, *DOUBLED, *STANDARD)
    data = DesedDataModule(config, config.grid, "missing.txt")
    data.setup("fit")
    module = CrossTaskSED(config)
    fit_scaler(module, data.train_dataloader())
    for record in records:
        assert_equal(record["statistics"], records[0]["statistics"])
        for name, tensor in module.scaler.state_dict().items():
            torch.testing.assert_close(record["statistics"][name], tensor, msg=name)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_to_one_process_ends_all_and_nothing_is_lost(
    moment: str, records: list[dict[str, Any]]
) -> None:
    for record in records:
        whole, resumed = record["whole"], record[moment]
        assert "resume with --resume_from_checkpoint" in resumed["message"]
        for key in ("clips", "metrics", "steps", "next"):
            assert resumed[key] == whole[key], key
        assert_equal(resumed["weights"], whole["weights"])


def test_a_checkpoint_holds_the_mean_statistics(two: TwoProcesses) -> None:
    """In the middle of an epoch, where those of the processes differ."""
    content = torch.load(two.folder / "0" / "interrupted.ckpt", weights_only=True)
    own = [state["statistics"] for state in content["ranks"]]
    name = "networks.teacher.backbone.2.norm.running_mean"
    assert not torch.equal(own[0][name], own[1][name])
    mean = (own[0][name] + own[1][name]) / 2
    torch.testing.assert_close(content["state_dict"][name], mean)


def test_another_number_of_processes_resumes_at_the_end_of_an_epoch(
    two: TwoProcesses, tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, *SETTINGS, "training.backend=null", "training.n_epochs=3")
    last = two.folder / "whole" / CHECKPOINTS / LAST_CHECKPOINT
    _, trainer, recorder = train(config, tmp_path, resume=last)
    assert trainer.global_step == 2 * 2 + 4
    assert len({name for batch in recorder.clips for name in batch}) == 3 * 4
    assert len(recorder.metrics) == 1
    message = r"middle of an epoch of 2 process\(es\): expected 2, got 1"
    with pytest.raises(InputError, match=message):
        check_resumable(config, two.folder / "0" / "interrupted.ckpt")


# ---- the command line ------------------------------------------------------------------------


def test_torchrun_trains_and_tests_as_one(tmp_path: Path) -> None:
    """With an encoder, whose embeddings one process stores."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    short = ("training.batch_size=[1, 1, 1]", "data.audio_max_len=4")
    line = command_line(make_data(tmp_path / "data"), tmp_path / "two", *short, *CACHED)
    [(status, output, message)] = wait(start([*torchrun, str(ROOT / "train_sed.py"), *line]))
    assert status == 0, message
    run = tmp_path / "two" / "version_0"
    texts = ("Processes       2", "Parameters ", "Encoder         ", "metrics.json", "Epoch 0: ")
    for text in (*texts, f"Testing {run}"):
        assert output.count(text) == 1, text
    assert output.count(f"of 200 x {DIMENSION}") == 6  # the sets
    assert "sync_dist" not in message
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["version_0"]
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert [path.name for path in (run / "csv").iterdir()] == ["version_0"]
    best = run / CHECKPOINTS / "best.ckpt"
    given = ["--test_from_checkpoint", str(best), "--gpus", "0", "--log_dir", str(tmp_path / "one")]
    assert main(given) == 0
    single, shared = (
        json.loads((folder / "version_0" / "metrics_test" / "metrics.json").read_text())
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert shared["test/student/clips_scored"] == SIZES["test"]
    assert shared == pytest.approx(single, abs=1e-6)
    digest = load_encoder(tiny_encoder_settings(), FrameGrid()).digest
    assert read_checkpoint(best)["encoder_sha256"] == digest
    assert json.loads((run / "model" / "model.json").read_text())["encoder_sha256"] == digest


def test_srun_reports_a_mistake_once(tiny_data: Path, tmp_path: Path) -> None:
    line = command_line(tiny_data, tmp_path, "data.synth_tsv=nothing.tsv")
    port = free_port()
    both = [
        start([str(ROOT / "train_sed.py"), *line], **slurm_environment(rank, port))
        for rank in range(2)
    ]
    ended = wait(*both)
    assert [status for status, _, _ in ended] == [USAGE_ERROR] * 2
    messages = "".join(message for _, _, message in ended)
    assert messages.count("error: ") == 1
    assert "nothing.tsv" in messages
    assert "Traceback" not in messages


def test_a_signal_to_one_process_ends_the_command_line(tiny_data: Path, tmp_path: Path) -> None:
    more = ("training.n_epochs=2000", "training.early_stop_patience=5000")
    line = command_line(tiny_data, tmp_path, "training.batch_size=[1, 1, 1]", *more)
    running = start(["-m", "tests.support.two_processes", "command", *line])
    last = tmp_path / "version_0" / CHECKPOINTS / LAST_CHECKPOINT
    running.wait_for(last)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGTERM)
    [(status, _, message)] = wait(running)
    assert status == TERMINATED, message
    assert message.count("terminated: ") == 1
    assert f"terminated: saved {last}; resume with --resume_from_checkpoint {last}\n" in message
    assert "Traceback" not in message
    assert len(torch.load(last, weights_only=True)["ranks"]) == 2


# ---- the launcher ----------------------------------------------------------------------------

# Process 1 fails with the given statement; process 0 waits until it is ended.
FAILING = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
if os.environ["RANK"] == "1":
    time.sleep(0.5)
    {failure}
time.sleep(60)
print("process 0 was not ended", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        ("sys.exit('error: a mistake')", 1, "error: a mistake\n"),
        ("os._exit(7)", 7, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "error: process 1 was ended by SIGKILL\n"),
        ("os.kill(os.getppid(), signal.SIGTERM)", 143, ""),
        ("os.kill(os.getppid(), signal.SIGINT)", 130, ""),
    ],
)
def test_all_end_with_the_status_of_the_first_that_fails(
    failure: str,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in list(os.environ):
        if name.startswith(LAUNCHED):
            monkeypatch.delenv(name)
    script = FAILING.format(failure=failure)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", script])
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in signals}
    try:
        assert start_processes(2) == status
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert capfd.readouterr().err == message


# ---- in one process --------------------------------------------------------------------------


def test_ranks_by_the_launchers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    def ranks(variables: dict[str, str]) -> Ranks | None:
        with monkeypatch.context() as patch:
            for name in [*torchrun_environment(0), *slurm_environment(0, "1")]:
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            return launched_ranks()

    assert ranks({}) is None
    assert ranks({"RANK": "1"}) is None
    assert ranks(torchrun_environment(1)) == Ranks(1, 2, 1, 2)
    assert ranks(slurm_environment(1, "1")) == Ranks(1, 2, 1, 2)
    two_nodes = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    two_nodes |= {"SLURM_PROCID": "6", "SLURM_LOCALID": "2"}
    assert ranks(two_nodes) == Ranks(rank=6, ranks=8, local_rank=2, local_ranks=4)
    assert Ranks(6, 8, 2, 4).nodes == 2
    assert ranks({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


def test_gpus_and_processes_must_be_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "launched_ranks", lambda: Ranks(0, 2, 0, 2))
    check_ranks(gpus=0)
    check_ranks(gpus=2)
    with pytest.raises(InputError, match=r"^--gpus 4: expected 4 .*got 2"):
        check_ranks(gpus=4)
    monkeypatch.setattr(launch, "launched_ranks", lambda: Ranks(0, 3, 0, 2))
    with pytest.raises(InputError, match=r"^3 processes: .*got 2"):
        check_ranks(gpus=0)


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the first of four processes."""
    monkeypatch.setattr(process_group, "_own", Ranks(0, 4, 0, 4))


@pytest.mark.usefixtures("four")
def test_settings_of_several_processes(tiny_data: Path) -> None:
    def config(*more: str) -> Config:
        return tiny_config(tiny_data, *more)

    with pytest.raises(InputError, match=r"add --set training\.backend=ddp"):
        CPU.check(config())
    ddp = "training.backend=ddp"
    CPU.check(config(ddp))
    with pytest.raises(InputError, match=r"training\.sync_batchnorm: .* needs GPUs"):
        CPU.check(config(ddp, "training.sync_batchnorm=true"))
    on_gpus = Machine(gpus=4)
    on_gpus.check(config(ddp, "training.sync_batchnorm=true"))
    options = on_gpus.trainer_options(config(ddp, "training.sync_batchnorm=true"))
    assert (options["devices"], options["num_nodes"], options["sync_batchnorm"]) == (4, 1, True)
    assert not on_gpus.trainer_options(config(ddp))["sync_batchnorm"]


@pytest.mark.usefixtures("four")
def test_the_rate_is_scaled_only_where_configured(tiny_data: Path) -> None:
    rates = []
    for switch in ("false", "true"):
        config = tiny_config(
            tiny_data, f"opt.scale_lr_with_ranks={switch}", "training.n_epochs_warmup=0"
        )
        optimisers: Any = CrossTaskSED(config).configure_optimizers()
        rates.append(optimisers["optimizer"].param_groups[0]["lr"])
    assert rates == [config.opt.lr, 4 * config.opt.lr]


@pytest.mark.usefixtures("four")
def test_a_process_without_clips_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.backend=ddp")
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    data.prepare_data()
    with pytest.raises(InputError, match=r"validation: .* 4 clips"):
        data.setup("fit")


def test_one_process_with_ddp_is_as_without(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # Lightning sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if torch.distributed.is_initialized():  # by a test before this one
        torch.distributed.destroy_process_group()
    trainings = []
    for backend in ("null", "ddp"):
        config = tiny_config(tiny_data, f"training.backend={backend}", "training.n_epochs=1")
        trainings.append(train(config, tmp_path / backend))
        assert torch.distributed.is_initialized() == (backend == "ddp")
    torch.distributed.destroy_process_group()
    single, ddp = trainings
    assert_equal(single.module.state_dict(), ddp.module.state_dict())
    assert single.recorder.clips == ddp.recorder.clips


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_with_synchronised_batch_norm(tiny_data: Path, tmp_path: Path) -> None:
    more = ("training.batch_size=[1, 1, 1]", "training.sync_batchnorm=true")
    line = command_line(tiny_data, tmp_path, *more, gpus=2)
    [(status, output, message)] = wait(start([str(ROOT / "train_sed.py"), *line]))
    assert status == 0, message
    assert output.count("Processes       2") == 1
    last = tmp_path / "version_0" / CHECKPOINTS / LAST_CHECKPOINT
    content = torch.load(last, weights_only=True, map_location="cpu")
    first, second = (state["statistics"] for state in content["ranks"])
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=name)


def test_statistics_of_a_process_are_restored_by_their_names(tiny_data: Path) -> None:
    """Those of an encoder as well, and of older checkpoints, which have shorter names."""
    config = tiny_config(tiny_data, *TRAINED)
    module = CrossTaskSED(config, encoder=configured_encoder(config))
    own = running_statistics(module)
    names = [
        "networks.teacher.backbone.2.norm.running_var",
        "encoders.student.function.batch_norm.running_mean",
    ]
    assert {*names} < own.keys()
    stored = {names[0].removeprefix("networks."): own[names[0]] + 1, names[1]: own[names[1]] + 2}
    state = {"random_state": random_state(module.generator), "statistics": stored}
    restore_rank(state, module, module.generator)
    assert own[names[0]].tolist() == [2.0] * len(own[names[0]])
    assert own[names[1]].tolist() == [2.0] * len(own[names[1]])
