"""Train and test sound activity-aware cross-task collaborative training for SED.

python train_sed.py                                   train, then test the best checkpoint
python train_sed.py --test_from_checkpoint PATH       test a checkpoint
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from desed_task.errors import run_cli

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
        "--gpus", type=int, default=1, metavar="N", help="GPUs, 0: the CPU (default: %(default)s)"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Configuration -> data -> fit or test."""
    args = parse_args(argv)
    from local import experiment, runs
    from local.callbacks import end_at_once
    from local.checkpoints import checkpoint_config, read_checkpoint, test_config
    from local.config import load_config, override_config
    from local.memory import keep_freed_memory

    signal.signal(signal.SIGTERM, end_at_once)
    experiment.quiet_lightning()
    if args.resume_from_checkpoint == Path(NEWEST):
        args.resume_from_checkpoint = runs.newest_checkpoint(args.log_dir)
    machine = experiment.Machine(experiment.choose_gpus(args.gpus), args.fast_dev_run)
    checkpoint: Path | None = args.test_from_checkpoint or args.resume_from_checkpoint
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
    machine.precision(config)
    if machine.gpus == 0:
        keep_freed_memory()
    if args.test_from_checkpoint:
        run = runs.new_run_folder(args.log_dir)
        done = experiment.test(config, machine, run, args.test_from_checkpoint, check=args.check)
    else:
        resumed = runs.run_folder_of(checkpoint) if checkpoint else None
        run = resumed or runs.new_run_folder(args.log_dir)
        done = experiment.fit(config, machine, run, checkpoint, check=args.check)
    print(f"\n{done.metrics}")
    if done.differences:
        print(*done.differences, sep="\n", file=sys.stderr)
    return int(bool(done.differences))


if __name__ == "__main__":
    run_cli(main)
