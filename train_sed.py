"""Train and test sound activity-aware cross-task collaborative training for SED.

python train_sed.py                                   train, then test the best checkpoint
python train_sed.py --test_from_checkpoint PATH       test a checkpoint
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from desed_task.errors import run_cli

if TYPE_CHECKING:
    from local.config.load import Config
    from local.run.machine import Machine

CONF_FILE = Path("confs/sed.yaml")
NEWEST = "last"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--conf_file",
        type=Path,
        help=f"experiment, ours or the published YAML (default: {CONF_FILE}, or, with a "
        "checkpoint, the one stored in it)",
    )
    parser.add_argument(
        "--log_dir",
        type=Path,
        default=Path("./exp/cross_task_training"),
        help="runs are made under it as version_0, version_1, … (default: %(default)s)",
    )
    parser.add_argument(
        "--resume_from_checkpoint",
        type=Path,
        metavar="P",
        help="go on training from a checkpoint of ours, in its own run's folder; 'last': from "
        "last.ckpt of the newest run under --log_dir",
    )
    parser.add_argument(
        "--test_from_checkpoint",
        type=Path,
        metavar="P",
        help="test a checkpoint, ours or the published one; with --conf_file all but the network "
        "and its features is taken from that file",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compute the test's figures with psds_eval, sed_scores_eval and sed_eval too, write "
        "them beside ours, and end with status 1 where one differs by more than 1e-9",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of each machine, 0: the CPU (default: %(default)s); more than one need "
        "--set training.backend=ddp",
    )
    parser.add_argument(
        "--fast_dev_run",
        action="store_true",
        help="two batches of everything, through the real loggers",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        dest="overrides",
        help="override a key, for example --set training.n_epochs=100; may be repeated",
    )
    args = parser.parse_args(argv)
    if args.resume_from_checkpoint and args.test_from_checkpoint:
        parser.error("--resume_from_checkpoint and --test_from_checkpoint exclude each other")
    if args.resume_from_checkpoint and args.fast_dev_run:
        parser.error("--fast_dev_run starts anew: without --resume_from_checkpoint")
    if args.gpus < 0:
        parser.error(f"--gpus {args.gpus}: a number of GPUs, or 0 for the CPU")
    return args


def silent_unless_first() -> contextlib.ExitStack:
    """Around what all processes of torchrun or `srun` would print: one of a machine does."""
    silence = contextlib.ExitStack()
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) != "0":
        silence.enter_context(contextlib.redirect_stdout(None))
        silence.enter_context(contextlib.redirect_stderr(None))
    return silence


class Plan(NamedTuple):
    """What is to be done: an experiment, from which checkpoint on, in which folder."""

    config: "Config"
    checkpoint: Path | None
    run: Path


def make_plan(args: argparse.Namespace, machine: "Machine") -> Plan:
    """Read the configuration, check it, and make or find the run's folder."""
    from local.config.load import load_config, override_config
    from local.run import folders
    from local.run.checkpoints import checkpoint_config, read_checkpoint, test_config

    checkpoint: Path | None = args.test_from_checkpoint or args.resume_from_checkpoint
    if checkpoint == Path(NEWEST):
        checkpoint = folders.newest_checkpoint(args.log_dir)
    if checkpoint is None:
        config = load_config(args.conf_file or CONF_FILE, args.overrides)
    else:
        chosen = load_config(args.conf_file) if args.conf_file else None
        content = read_checkpoint(checkpoint)
        if args.test_from_checkpoint:
            config = test_config(content, chosen, str(checkpoint))
        else:
            config = chosen or checkpoint_config(content, str(checkpoint))
        config = override_config(config, args.overrides)
    machine.check(config, trains=args.test_from_checkpoint is None)
    run = None
    if checkpoint is not None and not args.test_from_checkpoint:
        run = folders.run_folder_of(checkpoint)
    return Plan(config, checkpoint, run or folders.new_run_folder(args.log_dir))


def main(argv: Sequence[str] | None = None) -> int:
    """Configuration -> data -> fit or test, in one process or several."""
    with silent_unless_first():
        args = parse_args(argv)
    from desed_task import process_group
    from local.run import experiment, processes
    from local.run.callbacks import end_at_once
    from local.run.machine import Machine, choose_gpus
    from local.run.memory import keep_freed_memory

    signal.signal(signal.SIGTERM, end_at_once)
    experiment.quiet_lightning()
    with processes.said_once():
        machine = Machine(choose_gpus(args.gpus), args.fast_dev_run)
    if machine.gpus == 0:
        keep_freed_memory()
    with processes.together(machine.gpus):
        config, checkpoint, run = process_group.first_rank(lambda: make_plan(args, machine))
        tested = args.test_from_checkpoint
        if tested:
            done = experiment.test(config, machine, run, tested, check=args.check)
        else:
            done = experiment.fit(config, machine, run, checkpoint, check=args.check)
    if done is None:  # process 0 tells
        return 0
    print(f"\n{done.metrics_file}")
    if done.differences:
        print(*done.differences, sep="\n", file=sys.stderr)
    return int(bool(done.differences))


if __name__ == "__main__":
    run_cli(main)
