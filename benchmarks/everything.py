"""All subjects one after the other, each in a process of its own.

python -m benchmarks all [--device cuda] [--json FOLDER] [--only SUBJECT ...]

On a CPU in sizes that two slow cores finish in some 25 minutes; with `--device cuda` at the
recipe's size, without the subjects that need no GPU. Tables go to the screen, figures to
FOLDER/SUBJECT.json (default: bench_results). The exit status is 1 where a subject failed; the
others still run.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.options import ROOT, add_device, chosen_device, subject_parser
from desed_task.errors import InputError

ON_A_CPU: dict[str, str] = {
    "step": "--reference --rounds 3",
    "loading": "--clips 240 --rounds 3 --entries 10000",
    "validation": "--rounds 2",
    "inference": "--rounds 3",
    "memory": "",
    "training": "--steps 15",
    "epochs": "--picture {folder}/epochs.png",
    "curves": "--steps 60 --set training.batch_size=[2,2,4] --set data.audio_max_len=2 "
    "--output {folder}/curves.png",
    "evaluation": "--clips 300 --validation_clips 300 --rounds 1",
}
"""Options of each subject; `{folder}` is that of `--json`."""
ON_A_GPU: dict[str, str] = {
    "step": "--reference --clips 72 --precision bf16 --workers 6 --rounds 20",
    "loading": "--workers 6",
    "validation": "--precision bf16 --workers 6",
    "inference": "--precision 32 bf16 16 --rounds 20",
    "memory": "--precision bf16",
    "training": "--steps 60",
    "epochs": "--picture {folder}/epochs.png",
    "curves": "--precision 16-mixed --output {folder}/curves.png",
}
NO_DEVICE = ("loading", "evaluation")  # have no --device


def main(argv: Sequence[str]) -> int:
    """Run them; say at the end which ones failed."""
    parser = subject_parser("all", __doc__)
    add_device(parser)
    parser.add_argument("--only", nargs="+", metavar="SUBJECT", help="these alone")
    parser.set_defaults(json=ROOT / "bench_results")
    args = parser.parse_args(argv)
    chosen = ON_A_GPU if chosen_device(args.device).type == "cuda" else ON_A_CPU
    unknown = set(args.only or ()) - chosen.keys()
    if unknown:
        raise InputError(f"--only {min(unknown)}: known are {', '.join(chosen)}")
    try:
        args.json.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--json {args.json}: no folder to write to: {error.strerror}") from error
    subjects = args.only or list(chosen)
    failed = [
        subject
        for subject in tqdm(subjects, desc="Subjects", unit="subject")
        if run(subject, chosen[subject], args.device, args.json.resolve()) != 0
    ]
    if failed:
        print(f"\nfailed: {', '.join(failed)}; the other figures are in {args.json}")
    return int(bool(failed))


def run(subject: str, options: str, device: str, folder: Path) -> int:
    """Run a subject in a fresh process; its exit status. An older JSON file of it is removed."""
    written = folder / f"{subject}.json"
    written.unlink(missing_ok=True)
    arguments = [part.format(folder=folder) for part in options.split()]
    if subject not in NO_DEVICE:
        arguments += ["--device", device]
    print(f"\n== {subject} {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "benchmarks", subject, *arguments, "--json", str(written)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
