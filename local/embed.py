"""Store the embeddings of all clips of a configuration, for a training with encoder.mode cached.

    python -m local.embed --conf_file confs/mine.yaml

A training stores what is missing itself; with this command another machine does it before, or it
is done once for several trainings. Audio is prepared first, as by a training. A command that is
interrupted continues where it was. The files lie beside the folders of prepared audio:
docs/encoders.md.
"""

from collections.abc import Sequence
from pathlib import Path

from desed_task.errors import InputError, named_folders, run_cli
from desed_task.files import user_path
from desed_task.options import add_overrides, command_parser

# Imports that take seconds follow inside functions: --help and a mistyped option need none.


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and store."""
    parser = command_parser("python -m local.embed", __doc__)
    parser.add_argument("--conf_file", type=user_path, required=True, metavar="P")
    parser.add_argument(
        "--gpus",
        type=int,
        choices=[0, 1],
        help="0: the CPU (default: a GPU, or the CPU where PyTorch cannot use a GPU)",
    )
    add_overrides(parser, "override a key, for example --set encoder.source=beats.pt2")
    args = parser.parse_args(argv)
    from local.audio_sets import prepare_sets, test_sets, training_sets
    from local.config.load import load_config, override_config
    from local.encoders import store_missing
    from local.run.machine import choose_gpus

    config = load_config(args.conf_file, args.overrides)
    encoder = config.encoder
    if encoder is None:
        raise InputError(f"{args.conf_file}: encoder: expected an encoder, got null")
    config = override_config(config, ["encoder.mode=cached"])
    device = "cuda" if choose_gpus(args.gpus) else "cpu"
    sets = (training_sets(config) | test_sets(config)).values()
    workers = max(1, config.training.num_workers)
    with named_folders({f"data.{key}": Path(path) for key, path in config.data.paths().items()}):
        prepare_sets(sets, config.data.fs, workers, config.data.channel)
        digest = store_missing(config, sets, device=device, compare=True)
    print(f"Embeddings of encoder.source {encoder.source}, SHA-256 {digest}: complete")


if __name__ == "__main__":
    run_cli(main)
