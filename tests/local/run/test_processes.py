"""Several processes train as one: two of them, on the CPU, over gloo."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from desed_task import process_group
from desed_task.errors import TERMINATED, USAGE_ERROR, InputError
from desed_task.process_group import Place
from local.config.load import Config
from local.data import DesedDataModule
from local.run import processes
from local.run.experiment import check_resumable, fit_scaler
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.machine import Machine
from local.sed_trainer import CrossTaskSED
from tests.local.run.test_preemption import Recorder, train
from tests.support.given_batches import PLAIN, given_batch, gradients
from tests.support.paths import CONFS, ROOT
from tests.support.tiny import SIZES, overrides, tiny_config
from tests.support.two_processes import MOMENTS, SETTINGS, STANDARD
from tests.support.two_processes import train as train_as_told
from train_sed import main

LIMIT = 300  # seconds, in which nothing that does not hang comes near
ONE = Machine(gpus=0, fast=False)
# One process with the batches of two.
DOUBLED = ("training.batch_size=[2, 2, 2]", "training.batch_size_val=1")
QUICK = ("postprocess.bootstrap_replicates=0", "training.n_epochs=1", "training.backend=ddp")


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The processes of these tests share their imports' bytecode: most of the time is import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


def environment(**more: str) -> dict[str, str]:
    """This process's, without what other tests or launchers left in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PL_", "SLURM_", "OMP_"))}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def torchrun_places() -> list[dict[str, str]]:
    """What torchrun tells two processes."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": free_port()}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def slurm_places() -> list[dict[str, str]]:
    """What `srun` tells two processes on one machine."""
    shared = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_JOB_ID": "4"}
    shared |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": free_port()}
    return [shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]


def start(
    arguments: Sequence[str], places: Sequence[dict[str, str]]
) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(**place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for place in places
    ]


def ends(running: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Status, output and messages of each; one that hangs fails the test, and is ended."""
    try:
        texts = [process.communicate(timeout=LIMIT) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(p.returncode, out, err) for p, (out, err) in zip(running, texts, strict=True)]


def command_line(data: Path, log_dir: Path, *more: str) -> list[str]:
    sets = [f"--set={text}" for text in overrides(data, *QUICK, *more)]
    given = ["--conf_file", str(CONFS / "demo.yaml"), "--log_dir", str(log_dir), "--gpus", "0"]
    return [str(ROOT / "train_sed.py"), *given, *sets]


# ---- trained by two processes ----------------------------------------------------------------


@pytest.fixture(scope="module")
def out(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left that ran `tests.support.two_processes`."""
    folder = tmp_path_factory.mktemp("two")
    arguments = ["-m", "tests.support.two_processes", "train", str(tiny_data), str(folder)]
    for status, _, message in ends(start(arguments, torchrun_places())):
        assert status == 0, message
    return folder


@pytest.fixture(scope="module")
def seen(out: Path) -> list[dict[str, Any]]:
    """What each of them saw."""
    return [torch.load(out / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_parts_are_disjoint_and_complete(seen: list[dict[str, Any]]) -> None:
    """The epoch ends when the smallest set was seen once by all together."""
    parts = [found["whole"]["clips"] for found in seen]
    assert [len(part) for part in parts] == [4, 4]  # 2 epochs of 2 steps
    for epoch in (slice(0, 2), slice(2, 4)):
        steps = itertools.chain.from_iterable(part[epoch] for part in parts)
        drawn = Counter(itertools.chain.from_iterable(steps))
        assert set(drawn.values()) == {1}
        kinds = Counter(name.rsplit("_", 1)[0] for name in drawn)
        assert kinds == {"soundscape_train": 4, "weak": 4, "unlabelled": 4}
        assert kinds["soundscape_train"] == SIZES["synthetic_train"]
    for part in parts:
        for batch in part:
            kinds = Counter(name.rsplit("_", 1)[0] for name in batch)
            assert kinds == {"soundscape_train": 1, "weak": 1, "unlabelled": 1}


def test_students_and_teachers_are_bit_equal(seen: list[dict[str, Any]]) -> None:
    """Parameters and, after a validation, the statistics of batch norm."""
    first, second = (found["whole"]["weights"] for found in seen)
    assert_equal(first, second)
    assert {name.split(".")[1] for name in first if "running_var" in name} == {"student", "teacher"}
    head = "{}.strong_head.weight".format
    assert not torch.equal(first[head("networks.student")], first[head("networks.teacher")])
    assert_equal(*(found["fewer terms"] for found in seen))


def test_processes_draw_their_own_numbers(seen: list[dict[str, Any]]) -> None:
    first, second = (found["whole"] for found in seen)
    assert first["drawn"] == (2021, 2021)  # as alone
    assert second["drawn"] == (2022, 2022)
    assert first["next"][0] != second["next"][0]
    assert first["next"][1] != second["next"][1]


def test_validation_gives_the_figures_of_one_process(
    seen: list[dict[str, Any]], tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, *DOUBLED)
    module = CrossTaskSED(config)
    module.load_state_dict(seen[0]["whole"]["weights"])
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    trainer.validate(module, datamodule=data, verbose=False)
    alone = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/student/weak_f1_macro", "val/teacher/psds1", "val/teacher/loss_weak"} <= set(alone)
    for found in seen:
        assert found["whole"]["validation"] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("number_of_batches", [1, 2])
def test_gradients_are_those_of_one_process_with_the_whole_batch(
    number_of_batches: int, seen: list[dict[str, Any]], tiny_data: Path
) -> None:
    """Also where two batches are accumulated."""
    batches = [given_batch(tiny_config(tiny_data), seed) for seed in (3, 4)][:number_of_batches]
    whole = gradients(tiny_config(tiny_data, *PLAIN), batches)
    name = ["one batch", "two batches"][number_of_batches - 1]
    shared = [found["gradients"][name] for found in seen]
    assert_equal(*shared)
    assert whole.keys() == shared[0].keys()
    assert sum(float(gradient.abs().sum()) > 0 for gradient in whole.values()) > 20
    for name, gradient in whole.items():
        torch.testing.assert_close(shared[0][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_scaler_knows_the_clips_of_all(seen: list[dict[str, Any]], tiny_data: Path) -> None:
    config = tiny_config(tiny_data, *DOUBLED, *STANDARD)
    data = DesedDataModule(config, config.grid, "missing.txt")
    data.setup("fit")
    module = CrossTaskSED(config)
    fit_scaler(module, data.train_dataloader())
    for found in seen:
        assert_equal(found["statistics"], seen[0]["statistics"])
        for name, tensor in module.scaler.state_dict().items():
            torch.testing.assert_close(found["statistics"][name], tensor, msg=name)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_to_one_process_ends_all_and_nothing_is_lost(
    moment: str, seen: list[dict[str, Any]]
) -> None:
    for found in seen:
        whole, parts = found["whole"], found[moment]
        assert "go on with --resume_from_checkpoint" in parts["message"]
        for key in ("clips", "figures", "steps", "next"):
            assert parts[key] == whole[key], key
        assert_equal(parts["weights"], whole["weights"])


def test_a_checkpoint_holds_the_mean_statistics(out: Path) -> None:
    """Of the middle of an epoch, where each process had its own."""
    content = torch.load(out / "0" / "interrupted.ckpt", weights_only=True)
    kept = [state["statistics"] for state in content["ranks"]]
    name = "teacher.backbone.2.norm.running_mean"
    assert not torch.equal(kept[0][name], kept[1][name])
    mean = (kept[0][name] + kept[1][name]) / 2
    torch.testing.assert_close(content["state_dict"][f"networks.{name}"], mean)


def test_another_number_of_processes_goes_on_at_the_end_of_an_epoch(
    out: Path, tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, *SETTINGS, "training.backend=null", "training.n_epochs=3")
    last = out / "whole" / CHECKPOINTS / LAST_CHECKPOINT
    check_resumable(config, last)
    recorder = Recorder()
    _, trainer = train(config, tmp_path, recorder, last)
    assert trainer.global_step == 2 * 2 + 4
    assert len({name for batch in recorder.clips for name in batch}) == 3 * 4
    assert len(recorder.figures) == 1
    with pytest.raises(InputError, match=r"middle of an epoch that 2 process.* 1 cannot go on"):
        check_resumable(config, out / "0" / "interrupted.ckpt")


# ---- the command line ------------------------------------------------------------------------


def test_torchrun_trains_and_tests_as_one(tiny_data: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    line = command_line(tiny_data, tmp_path / "two", "training.batch_size=[1, 1, 1]")
    [(status, output, message)] = ends(start([*torchrun, *line], [{}]))
    assert status == 0, message
    run = tmp_path / "two" / "version_0"
    for said in ("Processes       2", "Parameters ", f"Testing {run}", "metrics.json"):
        assert output.count(said) == 1, said
    assert "sync_dist" not in message
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["version_0"]
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert [path.name for path in (run / "csv").iterdir()] == ["version_0"]
    best = run / CHECKPOINTS / "best.ckpt"
    given = ["--test_from_checkpoint", str(best), "--gpus", "0", "--log_dir", str(tmp_path / "one")]
    assert main(given) == 0
    alone, shared = (
        json.loads((folder / "version_0" / "metrics_test" / "metrics.json").read_text())
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert shared["test/student/clips_scored"] == SIZES["validation"]
    assert shared == pytest.approx(alone, abs=1e-6)


def test_a_mistake_is_told_once_and_ends_all(tiny_data: Path, tmp_path: Path) -> None:
    line = command_line(tiny_data, tmp_path, "data.synth_tsv=nothing.tsv")
    found = ends(start(line, slurm_places()))
    assert [status for status, _, _ in found] == [USAGE_ERROR] * 2
    messages = "".join(message for _, _, message in found)
    assert messages.count("error: ") == 1
    assert "nothing.tsv" in messages
    assert "Traceback" not in messages


def test_a_signal_ends_the_command_line_after_the_same_step(
    tiny_data: Path, tmp_path: Path
) -> None:
    more = ("training.n_epochs=2000", "training.early_stop_patience=5000")
    line = command_line(tiny_data, tmp_path, "training.batch_size=[1, 1, 1]", *more)
    running = start(line, torchrun_places())
    last = tmp_path / "version_0" / CHECKPOINTS / LAST_CHECKPOINT
    while not last.is_file() and all(process.poll() is None for process in running):
        time.sleep(0.1)
    running[1].send_signal(signal.SIGTERM)
    found = ends(running)
    assert [status for status, _, _ in found] == [TERMINATED] * 2, found
    messages = "".join(message for _, _, message in found)
    assert messages.count(f"terminated: {last} is saved") == 1
    assert "Traceback" not in messages
    assert len(torch.load(last, weights_only=True)["ranks"]) == 2


def test_a_process_starts_the_others_and_ends_with_them() -> None:
    [(status, output, message)] = ends(start(["-m", "tests.support.two_processes", "start"], [{}]))
    assert output.splitlines() == ["all: [0, 1]"] * 2
    assert message == "error: clip.wav: cannot be read\n"
    assert status == USAGE_ERROR


# ---- by itself -------------------------------------------------------------------------------


def test_where_a_process_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(env: dict[str, str]) -> Place | None:
        with monkeypatch.context() as patch:
            for name in [*torchrun_places()[0], *slurm_places()[0]]:
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            return processes.launched_place()

    assert place({}) is None
    assert place({"RANK": "1"}) is None
    assert place(torchrun_places()[1]) == Place(1, 2, 1, 2)
    assert place(slurm_places()[1]) == Place(1, 2, 1, 2)
    two_nodes = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    two_nodes |= {"SLURM_PROCID": "6", "SLURM_LOCALID": "2"}
    assert place(two_nodes) == Place(rank=6, ranks=8, local_rank=2, local_ranks=4)
    assert Place(6, 8, 2, 4).nodes == 2
    assert place({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


def test_gpus_and_processes_must_be_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "launched_place", lambda: Place(0, 2, 0, 2))
    message = r"--gpus 4: 2 process\(es\) were started on this machine"
    with pytest.raises(InputError, match=message), processes.together(gpus=4):
        pass
    monkeypatch.setattr(processes, "launched_place", lambda: Place(0, 3, 0, 2))
    with pytest.raises(InputError, match="every machine must have"), processes.together(gpus=0):
        pass
    monkeypatch.setattr(processes, "launched_place", lambda: Place(1, 3, 1, 2))
    with pytest.raises(SystemExit) as caught, processes.together(gpus=0):
        pass
    assert caught.value.code == USAGE_ERROR  # told by the first process of the machine


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were the first of four processes."""
    monkeypatch.setattr(process_group, "_place", Place(0, 4, 0, 4))


@pytest.mark.usefixtures("four")
def test_settings_of_several_processes(tiny_data: Path) -> None:
    def config(*more: str) -> Config:
        return tiny_config(tiny_data, *more)

    with pytest.raises(InputError, match=r"add --set training\.backend=ddp"):
        ONE.check(config())
    ddp = "training.backend=ddp"
    ONE.check(config(ddp))
    with pytest.raises(InputError, match=r"training\.sync_batchnorm: .* on CPUs use false"):
        ONE.check(config(ddp, "training.sync_batchnorm=true"))
    on_gpus = Machine(gpus=4, fast=False)
    on_gpus.check(config(ddp, "training.sync_batchnorm=true"))
    options = on_gpus.trainer_options(config(ddp, "training.sync_batchnorm=true"))
    assert (options["devices"], options["num_nodes"], options["sync_batchnorm"]) == (4, 1, True)
    assert not on_gpus.trainer_options(config(ddp))["sync_batchnorm"]


@pytest.mark.usefixtures("four")
def test_the_rate_is_scaled_only_where_asked(tiny_data: Path) -> None:
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
    with pytest.raises(InputError, match="validation: expected a set of at least 4 clips"):
        DesedDataModule(config, config.grid, tmp_path / "missing.txt").setup("fit")


def test_one_process_with_ddp_is_as_without(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # Lightning sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if torch.distributed.is_initialized():  # by a test before this one
        torch.distributed.destroy_process_group()
    found = []
    for backend in ("null", "ddp"):
        config = tiny_config(tiny_data, f"training.backend={backend}", "training.n_epochs=1")
        found.append(train_as_told(config, tmp_path / backend, Recorder()))
        assert torch.distributed.is_initialized() == (backend == "ddp")
    torch.distributed.destroy_process_group()
    assert_equal(found[0]["weights"], found[1]["weights"])
    assert found[0]["clips"] == found[1]["clips"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_with_synchronised_batch_norm(tiny_data: Path, tmp_path: Path) -> None:
    line = command_line(tiny_data, tmp_path, "training.batch_size=[1, 1, 1]")
    line[line.index("--gpus") + 1] = "2"
    [(status, output, message)] = ends(start([*line, "--set=training.sync_batchnorm=true"], [{}]))
    assert status == 0, message
    assert output.count("Processes       2") == 1
    last = tmp_path / "version_0" / CHECKPOINTS / LAST_CHECKPOINT
    content = torch.load(last, weights_only=True, map_location="cpu")
    first, second = (state["statistics"] for state in content["ranks"])
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=name)
