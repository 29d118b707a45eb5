"""Generate a data set in DESED's layout, from synthesised sounds or from isolated recordings.

    python -m local.generate --output DIR --seed 42 --size demo
    python -m local.generate --output DIR --soundbank SOUNDS --size medium

With a soundbank (docs/own_data.md) the classes are those of its folders, and the data set has a
configuration: python train_sed.py --conf_file DIR/conf.yaml
"""

import argparse
import math
from collections.abc import Sequence

from desed_task.dataio.audio import parse_channel
from desed_task.errors import InputError, run_cli
from desed_task.files import user_path
from desed_task.making.layout import SIZES
from desed_task.options import check_least, command_parser
from desed_task.processor import cores
from desed_task.synthesis.domains import SceneShares
from desed_task.tables import normalised
from local.own_config import CONFIGURATION, configuration


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line. Raises InputError for impossible values."""
    parser = command_parser("python -m local.generate", __doc__)
    add = parser.add_argument
    add(
        "--output",
        "--out",
        type=user_path,
        required=True,
        metavar="DIR",
        help="new or empty folder",
    )
    add("--seed", type=int, default=42, help="at least 0 (default: %(default)s)")
    add("--size", default="demo", help=f"{', '.join(SIZES)} (default: %(default)s)")
    add("--workers", type=int, default=cores(), help="number of processes (default: all cores)")
    group = parser.add_argument_group("from isolated recordings (docs/own_data.md)")
    add = group.add_argument
    add("--soundbank", type=user_path, help="folder with foreground/CLASS/* and background/*")
    add("--weak", type=user_path, help="folder per class: clips with weak labels")
    add("--unlabelled", type=user_path, help="folder of clips without labels")
    add(
        "--group",
        help="regular expression of a recording's name in a file's (default: without take letter)",
    )
    add("--groups", type=user_path, help="table with the columns filename and group")
    add("--test_groups", help="regular expression of the recordings that are the test")
    add("--bandwidth", type=float, help="limit in Hz for all recordings (default: none)")
    add(
        "--lone_share",
        type=float,
        help="share of training and validation clips that are one recording alone "
        f"(default: {SceneShares.lone:g})",
    )
    add(
        "--empty_share",
        type=float,
        help=f"share of them without any event (default: {SceneShares.empty:g})",
    )
    add(
        "--pause",
        help="seconds of silence between two events of a recording, CLASS=seconds for exceptions: "
        "0.25,Clock=1.5 (default: 0.25)",
    )
    add(
        "--channel",
        type=parse_channel,
        help="how channels become one: mix (their mean; the loudest where they cancel), loudest, "
        "or a number from 1 on (default: mix)",
    )
    options = parser.parse_args(arguments)
    if options.size not in SIZES:
        raise InputError(f"--size: expected one of {', '.join(SIZES)}, got {options.size!r}")
    check_least(options, seed=0, workers=1)
    if options.soundbank is None:
        further = ("bandwidth", "lone_share", "empty_share", "pause", "channel")
        for name in ("weak", "unlabelled", "group", "groups", "test_groups", *further):
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: expected --soundbank as well, got none")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and generate the data set."""
    options = parse_args(arguments)
    from desed_task.making.generate import generate_dataset, read_material  # scipy: 1 s
    from desed_task.making.soundbank import BankOptions

    seed, sizes, workers = options.seed, SIZES[options.size], options.workers
    if options.soundbank is None:
        generate_dataset(options.output, seed, sizes, workers)
        return
    bank_options = BankOptions(
        options.group,
        options.groups,
        options.test_groups,
        options.bandwidth,
        *parse_pauses(options.pause, BankOptions.pause_s),
        channel=options.channel or BankOptions.channel,
    )
    given = {"lone": options.lone_share, "empty": options.empty_share}
    shares = SceneShares(**{key: share for key, share in given.items() if share is not None})
    material = read_material(
        options.soundbank, seed, bank_options, options.weak, options.unlabelled, shares
    )
    bank, sizes = material.bank, material.sizes(sizes)
    program = "local.generate --soundbank"
    written = configuration(
        options.output.resolve(), bank.classes, sizes, bank.event_lengths(), program=program
    )
    generate_dataset(options.output, seed, sizes, workers, material, {CONFIGURATION: written.text})
    print(f"recordings (files of one recording count once):\n{bank.summary()}")
    print(f"bandwidth: {bank.bandwidths()}")
    print(*written.notes, sep="\n")
    print(f"next: python train_sed.py --conf_file {options.output / CONFIGURATION}")


def parse_pauses(text: str | None, default: float) -> tuple[float, dict[str, float]]:
    """`0.25,Clock_tick=1.5`: the pause for all classes, and exceptions."""
    pauses = {}
    for item in text.split(",") if text is not None else ():
        label, _, number = item.rpartition("=")
        try:
            seconds = float(number)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise InputError(
                f"--pause: expected seconds or CLASS=seconds, at least 0, got {item!r}"
            )
        if label:
            pauses[normalised(label.strip())] = seconds
        else:
            default = seconds
    return default, pauses


if __name__ == "__main__":
    run_cli(main)
