"""python -m benchmarks SUBJECT [options]: measure one subject, or all; `--help` lists the options.

python -m benchmarks all [--only SUBJECT ...] [--tiny] [--device cuda] [--json FOLDER]
python -m benchmarks first_hour [--device cuda] [--tiny] [--output FOLDER]

`all` measures the subjects one after the other, each in a process of its own, in the default size
of the device, and writes FOLDER/SUBJECT.json (default: bench_results). A subject that fails does
not stop the others; the exit status is 1 then. `first_hour` is for a new GPU: docs/gpu.md.
"""

import argparse
import importlib
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from desed_task.errors import InputError, run_cli

SUBJECTS = ("step", "loading", "inference", "training", "curves", "evaluation")
OTHERS = ("first_hour",)  # not in `all`
EXTRA = {"step": ["--reference"]}  # options in `all`


def main(argv: Sequence[str]) -> int:
    """Run the subject of the command line; returns the exit status."""
    subject = argv[0] if argv else "--help"
    if subject in ("-h", "--help"):
        print(f"{__doc__}\nSubjects: {', '.join(SUBJECTS)}")
        return 0
    if subject == "all":
        return measure_all(argv[1:])
    if subject not in (*SUBJECTS, *OTHERS):
        known = ", ".join((*SUBJECTS, "all", *OTHERS))
        raise InputError(f"subject: expected one of {known}; got {subject!r}")
    return measure(subject, argv[1:])


def measure(subject: str, argv: Sequence[str]) -> int:
    """Measure one subject; returns the exit status."""
    return importlib.import_module(f"benchmarks.{subject}").main(argv)


def measure_all(argv: Sequence[str]) -> int:
    """Measure all subjects; returns 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks all",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--tiny", action="store_true", help="the smallest size: does it run?")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--json", type=Path, default=Path("bench_results"))
    args = parser.parse_args(argv)
    try:
        args.json.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--json {args.json}: cannot be created: {error.strerror}") from error
    failed = []
    # Imported once and inherited by the forked processes, which saves seconds for each. Nothing is
    # computed here: a process with threads or a CUDA context must not be forked.
    for subject in args.only:
        importlib.import_module(f"benchmarks.{subject}")
    for subject in args.only:
        options = [*EXTRA.get(subject, []), *(["--tiny"] if args.tiny else [])]
        options += ["--device", args.device, "--json", str(args.json / f"{subject}.json")]
        print(f"\n== {subject} {' '.join(options)}", flush=True)
        process = multiprocessing.get_context("fork").Process(
            target=_measure_and_exit, args=(subject, options)
        )
        process.start()
        process.join()
        if process.exitcode:
            failed.append(subject)
    if failed:
        print(f"\nfailed: {', '.join(failed)}; the other results are in {args.json}")
    return int(bool(failed))


def _measure_and_exit(subject: str, options: Sequence[str]) -> None:
    run_cli(lambda: measure(subject, options))


if __name__ == "__main__":
    run_cli(lambda: main(sys.argv[1:]))
