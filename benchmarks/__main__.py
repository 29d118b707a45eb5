"""python -m benchmarks SUBJECT [options]: measure one subject, or all; `--help` lists the options.

python -m benchmarks all [--only SUBJECT ...] [--tiny] [--device cuda] [--output FOLDER]
python -m benchmarks first_hour [--device cuda] [--tiny] [--output FOLDER]

`all` measures the subjects one after the other, each in a process of its own, in the default size
of the device, and writes FOLDER/SUBJECT.json (default: bench_results). A subject that fails does
not stop the others; the exit status is 1 then. `first_hour` is for a new GPU: docs/gpu.md.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.commands import OK, SUBJECTS, run_commands, subject_commands
from desed_task.errors import FAULT, InputError, run_cli
from desed_task.files import user_path
from desed_task.options import command_parser


def main(argv: Sequence[str]) -> int:
    """Run the subject of the command line; returns the exit status."""
    subject = argv[0] if argv else "--help"
    if subject in ("-h", "--help"):
        print(f"{__doc__}\nSubjects: {', '.join(SUBJECTS)}")
        return 0
    if subject == "all":
        return measure_all(argv[1:])
    known = (*SUBJECTS, "own_sounds", "first_hour")
    if subject not in known:
        raise InputError(f"subject: expected one of all, {', '.join(known)}; got {subject!r}")
    status: int = importlib.import_module(f"benchmarks.{subject}").main(argv[1:])
    return status


def measure_all(argv: Sequence[str]) -> int:
    """Measure all subjects; returns 1 if one failed."""
    parser = command_parser("python -m benchmarks all", __doc__)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--tiny", action="store_true", help="the smallest size: does it run?")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--output", "--json", type=user_path, default=Path("bench_results"), metavar="FOLDER"
    )
    args = parser.parse_args(argv)
    size = ["--device", args.device, *(["--tiny"] if args.tiny else [])]
    results = run_commands(subject_commands(args.only, size, args.output), args.output)
    failed = [name for name, result, _ in results if result != OK]
    if failed:
        print(f"\nfailed: {', '.join(failed)}; the other results are in {args.output}")
    return FAULT if failed else 0


if __name__ == "__main__":
    run_cli(lambda: main(sys.argv[1:]))
