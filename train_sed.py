"""Train and test sound activity-aware cross-task collaborative training for SED.

python train_sed.py                                   train, then test the best checkpoint
python train_sed.py --test_from_checkpoint PATH       test a checkpoint
"""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from desed_task.errors import (
    CLOSED,
    OUTPUT_CLOSED,
    InputError,
    Terminated,
    exit_status,
    named_folders,
    output_closed,
    run_cli,
)
from desed_task.files import user_path
from desed_task.options import add_overrides, command_parser
from desed_task.processor import keep_freed_memory, set_thread_waiting
from desed_task.ranks import launched_ranks, one_error_per_node

if TYPE_CHECKING:
    from local.config.load import Config
    from local.run.machine import Machine

# Imports that take seconds follow inside functions: --help and a mistyped option need none.


def main(argv: Sequence[str] | None = None) -> int:
    """Train and test, or only test, as the command line asks; returns the exit status."""
    with one_error_per_node():
        args = parse_args(argv)
        set_thread_waiting()
        from desed_task import process_group
        from local.lightning_internals import silence_lightning
        from local.run import experiment, launch
        from local.run.machine import Machine, choose_gpus
        from local.run.preemption import ENDING, end_at_once

        machine = Machine(choose_gpus(args.gpus))
        launch.check_ranks(machine.gpus)

    if machine.gpus > 1 and launched_ranks() is None:
        read_experiment(args, machine)  # finds a mistake before processes start
        return launch.start_processes(machine.gpus)

    for number in ENDING:
        signal.signal(number, end_at_once)
    silence_lightning()
    if machine.gpus == 0:
        keep_freed_memory()

    with launch.joined_process_group(machine.gpus):
        config, checkpoint = process_group.from_first_rank(lambda: read_experiment(args, machine))
        with run_folder(args, config, checkpoint) as run:
            if checkpoint is not None and args.test_from_checkpoint:
                results = experiment.test(
                    config, machine, run, checkpoint, check=args.check, fast=args.fast_dev_run
                )
            else:
                results = experiment.fit(
                    config,
                    machine,
                    run,
                    checkpoint,
                    initial=args.init_from_checkpoint,
                    check=args.check,
                    fast=args.fast_dev_run,
                )

    if results is None:  # process 0 has it
        return 0
    print(f"\n{results.metrics_file}")
    if results.differences:
        print(*results.differences, sep="\n", file=sys.stderr)
    return int(bool(results.differences))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("train_sed.py", __doc__)
    parser.add_argument(
        "--conf_file",
        type=user_path,
        help="experiment, ours or the published YAML (default: confs/sed.yaml, or, with a "
        "checkpoint, the one stored in it)",
    )
    parser.add_argument(
        "--log_dir",
        type=user_path,
        default=Path("./exp/cross_task_training"),
        help="folder in which runs create their folders version_0, version_1, … "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--resume_from_checkpoint",
        type=user_path,
        metavar="P",
        help="resume from one of our checkpoints, in the folder of its run; 'last': from "
        "last.ckpt of the newest run under --log_dir",
    )
    parser.add_argument(
        "--init_from_checkpoint",
        type=user_path,
        metavar="P",
        help="start a new training from the weights of a checkpoint, ours or the published one, "
        "that fit by name and shape; heads by the name of the class",
    )
    parser.add_argument(
        "--test_from_checkpoint",
        type=user_path,
        metavar="P",
        help="test a checkpoint, ours or the published one; with --conf_file everything but the "
        "network and its features is taken from that file",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="also compute the test's metrics with psds_eval, sed_scores_eval and sed_eval, write "
        "them beside ours, and exit with status 1 where one differs by more than 1e-9",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="GPUs of each node, 0: the CPU (default: one, or the CPU where PyTorch cannot use a "
        "GPU); more than one need --set training.backend=ddp",
    )
    parser.add_argument(
        "--fast_dev_run",
        action="store_true",
        help="two batches of everything, through the real loggers",
    )
    add_overrides(parser, "override a key, for example --set training.n_epochs=100")
    args = parser.parse_args(argv)
    if args.resume_from_checkpoint and args.test_from_checkpoint:
        parser.error("expected --resume_from_checkpoint or --test_from_checkpoint, got both")
    for name in ("resume_from_checkpoint", "test_from_checkpoint"):
        if args.init_from_checkpoint and getattr(args, name):
            parser.error(f"expected --init_from_checkpoint or --{name}, got both")
    if args.resume_from_checkpoint and args.fast_dev_run:
        parser.error("--fast_dev_run: expected a new run, got --resume_from_checkpoint")
    if args.gpus is not None and args.gpus < 0:
        parser.error(f"--gpus: expected a number of GPUs, or 0 for the CPU, got {args.gpus}")
    return args


def read_experiment(args: argparse.Namespace, machine: "Machine") -> "tuple[Config, Path | None]":
    """Checked configuration, and the checkpoint to resume from or to test."""
    from local.config.load import load_config, override_config
    from local.run.checkpoints import (
        checkpoint_config,
        is_dev_run,
        newest_checkpoint,
        read_checkpoint,
        test_config,
    )
    from local.run.weights import read_initial

    checkpoint: Path | None = args.test_from_checkpoint or args.resume_from_checkpoint
    if checkpoint == Path("last"):
        checkpoint = newest_checkpoint(args.log_dir)
    if checkpoint is None:
        config = load_config(args.conf_file or Path("confs/sed.yaml"), args.overrides)
        if args.init_from_checkpoint:
            read_initial(config, args.init_from_checkpoint)
    else:
        chosen = load_config(args.conf_file) if args.conf_file else None
        content = read_checkpoint(checkpoint)
        if args.test_from_checkpoint:
            config = test_config(content, chosen, args.overrides, str(checkpoint))
        else:
            if is_dev_run(content):
                raise InputError(
                    f"--resume_from_checkpoint {checkpoint}: expected the checkpoint of a "
                    "training, got one of --fast_dev_run; start a new run"
                )
            config = chosen or checkpoint_config(content, str(checkpoint))
            config = override_config(config, args.overrides)
    machine.check(config, trains=args.test_from_checkpoint is None)
    return config, checkpoint


@contextlib.contextmanager
def run_folder(
    args: argparse.Namespace, config: "Config", checkpoint: Path | None
) -> Iterator[Path]:
    """Folder of the resumed run, or a new one; no other run writes it during the block."""
    from desed_task import process_group
    from local.run import folders

    resumed = None
    if checkpoint is not None and not args.test_from_checkpoint:
        resumed = process_group.from_first_rank(lambda: folders.run_folder_of(checkpoint))
    run = resumed or process_group.from_first_rank(lambda: folders.new_run_folder(args.log_dir))
    named = {f"data.{key}": path for key, path in config.data.paths().items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(named_folders(named | {"--log_dir": run.parent}, written=run))
        if process_group.rank() == 0:
            stack.enter_context(folders.claimed(run, new=resumed is None))
        try:
            yield run
        except BrokenPipeError as error:
            if not output_closed(error):
                raise
            raise Terminated(f"{CLOSED}: {folders.saved(run)}", OUTPUT_CLOSED) from None
        except (KeyboardInterrupt, Terminated) as error:
            word = str(error) or "interrupted"
            if word not in ("interrupted", "terminated"):  # the message is whole
                raise
            raise Terminated(f"{word}: {folders.saved(run)}", exit_status(error)) from None


if __name__ == "__main__":
    run_cli(main)
