"""What each loss term contributes to the gradient of a trained network.

python -m local.studies.gradients --checkpoint FILE [--steps 20] [--seed 1]

Reads the training data of the checkpoint's configuration, relative to the current folder. In each
step the gradient of every weighted term is computed by itself, with the consistency weight after
the warm-up; nothing is trained. `share` is a term's part of the sum of all terms' norms, `cosine`
that between its gradient and the sum of the others'. Both are means over the steps, for all
parameters and for those of the backbone, which the tasks share.
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from desed_task.errors import run_cli
from desed_task.files import user_path
from desed_task.options import check_least, command_parser

# Imports that take seconds follow inside functions: --help and a mistyped option need none.


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    args = parse_args(argv)
    from local.data import DesedDataModule
    from local.rank_state import seed_everything
    from local.run.checkpoints import read_checkpoint, test_config
    from local.run.weights import load_tested
    from local.studies.term_gradients import measure, table

    content = read_checkpoint(args.checkpoint)
    config = test_config(content, None, [], str(args.checkpoint))
    module = load_tested(config, args.checkpoint).module
    with tempfile.TemporaryDirectory() as folder:
        data = DesedDataModule(module.config, module.config.grid, Path(folder) / "missing.txt")
        data.prepare_data()
        data.setup("fit")
        seed_everything(args.seed)
        batches = itertools.islice(itertools.cycle(data.train_dataloader()), args.steps)
        bar = tqdm(batches, "steps", args.steps)
        measured = [measure(module, batch.with_float_audio()) for batch in bar]
    print(table(measured))
    return 0


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m local.studies.gradients", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--checkpoint", type=user_path, required=True, help="of a training of this project")
    add("--steps", type=int, default=20, help="batches (default: %(default)s)")
    add("--seed", type=int, default=1, help="of distortions and dropout (default: %(default)s)")
    args = parser.parse_args(argv)
    check_least(args, steps=1)
    return args


if __name__ == "__main__":
    run_cli(main)
