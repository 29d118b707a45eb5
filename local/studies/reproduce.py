"""Reproduce the recipe on DESED: check the data, train, test, compare with the authors' metrics.

python -m local.studies.reproduce --data DIR --check-only      is the data whole?
python -m local.studies.reproduce --data DIR [--seeds 3]       train, test, write reproduction.md
python -m local.studies.reproduce --data DIR --checkpoint P    test one, ours or published

A second call with the same folders continues where the first one ended: docs/reproduce.md.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from desed_task.errors import FAULT, INTERRUPTED, TERMINATED, InputError, Terminated, run_cli
from desed_task.files import user_path, write_file, writing
from local.config.data import KEYS
from local.config.load import load_config
from local.run.folders import newest_checkpoint, run_folders
from local.studies.find import FoundSet, find_sets
from local.studies.reproduction_report import ROOT, data_report, read_metrics, reproduction

CONFIGURATION = "reproduction.yaml"
REPORT = "reproduction.md"
MISSING = "missing.tsv"
METRICS_FILE = Path("metrics_test") / "metrics.json"
Start = Callable[[list[str]], int]
"""Runs train_sed.py with arguments; its exit status."""


def main(argv: Sequence[str] | None = None, start: Start | None = None) -> int:
    """Check, train, test and compare; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _arguments(arguments)
    sets = find_sets(args.data)
    print(data_report(sets, args.data), flush=True)
    with writing(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    lines = [f"{s.clip_set.title}\t{name}\n" for s in sets for name in s.missing]
    write_file(args.output / MISSING, "set\tfilename\n" + "".join(lines))
    print(f"\n{len(lines)} names of missing clips: {args.output / MISSING}", flush=True)
    needed = [s for s in sets if not s.clip_set.optional and (s.scored or not args.checkpoint)]
    lacking = [s.clip_set.title for s in needed if not s.usable]
    if lacking:
        raise InputError(f"--data {args.data}: no usable {', '.join(lacking)} set: see the table")
    configuration = args.output / CONFIGURATION
    write_file(configuration, configuration_text(sets, args.data))
    load_config(configuration, args.overrides)
    if args.check_only:
        return 0
    finished, failed = _run_all(args, configuration, start or start_training)
    runs = {name: read_metrics(path) for name, path in finished.items()}
    command = f"python -m local.studies.reproduce {shlex.join(arguments)}"
    changes = shlex.join(args.overrides)
    text = reproduction(data_report(sets, args.data), runs, failed, command, changes)
    write_file(args.output / REPORT, text)
    print(f"\n{args.output / REPORT}")
    return FAULT if failed else 0


def configuration_text(sets: Sequence[FoundSet], data: Path) -> str:
    """YAML of the recipe with the paths of the sets that were found below the folder `data`."""
    section: dict[str, str | None] = {"root": str(data.resolve())}
    for found in sets:
        if found.usable and found.folder is not None:
            keys, clip_set = KEYS[found.clip_set.name], found.clip_set
            paths = {keys.folder: found.folder, keys.original: found.original}
            if keys.tsv is not None:
                paths[keys.tsv] = found.table
            if keys.durations is not None and found.table is not None:
                paths[keys.durations] = found.table.with_name(Path(str(clip_set.durations)).name)
            for key, path in paths.items():
                section[key] = None if path is None else str(path.relative_to(data))
    content: dict[str, Any] = {"extends": str(ROOT / "confs" / "sed.yaml"), "data": section}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def start_training(arguments: list[str]) -> int:
    """Run train_sed.py to its end; its output is this program's.

    After Ctrl-C, which reaches it as well, and SIGTERM, which is passed on, it saves what it has.
    """
    process = subprocess.Popen([sys.executable, str(ROOT / "train_sed.py"), *arguments])
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_all(
    args: argparse.Namespace, configuration: Path, start: Start
) -> tuple[dict[str, Path], list[str]]:
    """Metrics file of each run by name, and the names of the failed ones."""
    finished: dict[str, Path] = {}
    failed = []
    gpus = [] if args.gpus is None else ["--gpus", str(args.gpus)]
    seed = load_config(configuration, args.overrides).training.seed
    seeds = [] if args.checkpoint else range(seed, seed + args.seeds)
    names = {f"seed {seed}": [*args.overrides, f"training.seed={seed}"] for seed in seeds}
    names = names or {"checkpoint": args.overrides}
    for number, (name, overrides) in enumerate(names.items(), start=1):
        folder = args.output / name.replace(" ", "_")
        metrics = None if args.checkpoint else _finished(folder, configuration, overrides)
        if metrics is None:
            print(f"\n== {name} ({number} of {len(names)})", flush=True)
            tested = ["--test_from_checkpoint", str(args.checkpoint)]
            options = tested if args.checkpoint else _resume(folder)
            options += [text for override in overrides for text in ("--set", override)]
            command = ["--conf_file", str(configuration), "--log_dir", str(folder)]
            status = start([*command, *options, *gpus])
            if status in (INTERRUPTED, TERMINATED):
                raise Terminated("stopped: the same command continues", status)
            metrics = _newest_metrics(folder) if status == 0 else None
        if metrics is None:
            failed.append(name)
        else:
            finished[name] = metrics
    return finished, failed


def _finished(folder: Path, configuration: Path, overrides: Sequence[str]) -> Path | None:
    """Metrics of an earlier run with the same configuration; None where there are none."""
    metrics = _newest_metrics(folder)
    if metrics is None:
        return None
    digest = load_config(configuration, overrides).digest
    return metrics if read_metrics(metrics).get("config_digest") == digest else None


def _newest_metrics(folder: Path) -> Path | None:
    paths = [run / METRICS_FILE for run in reversed(run_folders(folder).values())]
    return next((path for path in paths if path.is_file()), None)


def _resume(folder: Path) -> list[str]:
    """Options that resume an interrupted run, where there is one."""
    try:
        checkpoint = newest_checkpoint(folder)
    except InputError:
        return []
    finished = (checkpoint.parents[1] / METRICS_FILE).is_file()
    return [] if finished else ["--resume_from_checkpoint", str(checkpoint)]


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.studies.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=user_path, required=True, metavar="DIR")
    parser.add_argument(
        "--output", type=user_path, default=Path("exp/reproduction"), metavar="DIR",
        help="configuration, runs and reproduction.md (default: exp/reproduction)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings (default: 3)")
    parser.add_argument("--gpus", type=int, metavar="N", help="as for train_sed.py")
    parser.add_argument("--checkpoint", type=user_path, metavar="P", help="only test this one")
    parser.add_argument(
        "--set", action="append", default=[], metavar="K=V", dest="overrides",
        help="override a key of the recipe, as for train_sed.py; may be repeated",
    )  # fmt: skip
    parser.add_argument("--check-only", action="store_true", help="stop after the data")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds: expected at least 1, got {args.seeds}")
    if args.checkpoint and not args.checkpoint.is_file():
        parser.error(f"--checkpoint {args.checkpoint}: no such file")
    return args


if __name__ == "__main__":
    run_cli(main)
