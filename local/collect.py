"""Make a data set in DESED's layout from recordings and labels of your own.

    python -m local.collect --audio RECORDINGS --labels LABELS --output OWN
    python train_sed.py --conf_file OWN/conf.yaml
    python -m local.collect --add OWN --audio RECORDINGS --labels NEW_OR_CORRECTED_LABELS

Labels: docs/own_data.md. Recordings are cut into clips; the sets are split by recording.
"""

import argparse
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from desed_task.dataio.audio import parse_channel
from desed_task.errors import InputError, run_cli
from desed_task.files import user_path
from desed_task.making.collect import (
    UNREADABLE,
    CollectOptions,
    Plan,
    class_table,
    plan_clips,
    write_clips,
)
from desed_task.making.collected import options_with, read_record
from desed_task.making.label_arguments import add_label_arguments
from desed_task.options import command_parser
from local.own_config import CONFIGURATION, configuration


def parse_args(arguments: Sequence[str] | None = None) -> CollectOptions:
    """Options of the command line. Raises InputError for impossible values."""
    # The defaults are those of CollectOptions.
    parser = command_parser("python -m local.collect", __doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--audio", type=user_path, required=True, metavar="DIR", help="recordings")
    add(
        "--labels",
        type=user_path,
        metavar="DIR_OR_FILE",
        help="label files, or one table of all recordings (default: a folder per class in --audio)",
    )
    add_label_arguments(add)
    add("--output", type=user_path, metavar="DIR", help="new folder (default: that of --add)")
    add(
        "--add",
        type=user_path,
        metavar="DATASET",
        help="add recordings and corrected labels to this data set; the recordings that it has "
        "keep their set",
    )
    add(
        "--test",
        type=user_path,
        metavar="DIR",
        help="recordings of the test; their labels are found as those of --audio",
    )
    add("--unlabelled", type=user_path, metavar="DIR", help="recordings without labels")
    add(
        "--rest",
        choices=["skip", "background", "unlabelled"],
        help="recordings in --audio without any label: not used (default), without events, or "
        "unlabelled",
    )
    add("--clip_seconds", type=float, help="length of a clip (default: 10)")
    add("--overlap", type=float, help="seconds that clips share (default: 0)")
    add(
        "--split",
        type=_shares,
        metavar="SHARES",
        help="shares of train, validation, test (default: 0.7,0.15,0.15); 0: no such set",
    )
    add(
        "--group",
        metavar="RULE",
        help="recordings of one group are in one set: folder, column:NAME of the table, or a "
        "regular expression of the file name (default: each recording alone)",
    )
    add("--groups", type=user_path, metavar="TABLE", help="a table: filename, group")
    add(
        "--channel",
        type=parse_channel,
        help="how channels become one: mix (their mean; the loudest where they cancel), loudest, "
        "or a number from 1 on (default: mix)",
    )
    add(
        "--skip_unreadable",
        action="store_true",
        help="do not use recordings that cannot be read (default: refuse them)",
    )
    add("--seed", type=int, help="of the split (default: 1)")
    given = vars(parser.parse_args(arguments))
    if "add" in given:
        given = options_with(read_record(given["add"]), given)
    elif "output" not in given:
        parser.error("expected --output, or --add, got neither")
    given.setdefault("output", given.get("add"))
    return CollectOptions(**given)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError:
        raise InputError(f"--split: expected three shares with the sum 1, got {text!r}") from None


def _configuration_file(plan: Plan, options: CollectOptions) -> tuple[str, str]:
    """The name of the configuration that is written, and a remark on one that was edited.

    In a set that is replaced, an edited file is not: the first of conf.yaml, conf.2.yaml, …
    that is missing or as it was written gets the new configuration.
    """
    if plan.known is None or not plan.known.is_edited(CONFIGURATION):
        return CONFIGURATION, ""
    edited = plan.known.folder / CONFIGURATION
    if options.output.resolve() != plan.known.folder.resolve():
        return CONFIGURATION, f"{edited} was edited; the new {CONFIGURATION} is without these edits"
    numbered = (Path(CONFIGURATION).with_suffix(f".{number}.yaml").name for number in count(2))
    name = next(each for each in numbered if not plan.known.is_edited(each))
    return name, f"{edited} was edited and is not changed: copy your edits from it to {name}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the data set, print what it holds."""
    options = parse_args(arguments)
    plan = plan_clips(options)
    for note in plan.notes:
        print(note)
    written = configuration(
        options.output.resolve(),
        plan.classes,
        plan.sizes(),
        plan.event_lengths(),
        program="local.collect",
        clip_seconds=options.clip_seconds,
        former=None if plan.known is None else plan.known.folder / CONFIGURATION,
    )
    name, edited = _configuration_file(plan, options)
    records = write_clips(options, plan, {name: written.text})
    print(class_table(records, plan.classes))
    for remark, number in plan.remarks.items():
        if number:
            print(f"{number} {remark}")
    print(*written.notes, sep="\n")
    if (options.output / UNREADABLE).is_file():
        print(f"recordings that cannot be read are not used: {options.output / UNREADABLE}")
    if edited:
        print(edited)
    initial = " --init_from_checkpoint CHECKPOINT" if options.add else ""
    print(f"next: python train_sed.py --conf_file {options.output / name}{initial}")


if __name__ == "__main__":
    run_cli(main)
