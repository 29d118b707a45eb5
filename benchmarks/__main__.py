"""python -m benchmarks SUBJECT [options]: measure one subject; `--help` lists its options."""

import sys

from benchmarks import (
    curves,
    epochs,
    evaluation,
    everything,
    inference,
    loading,
    memory,
    step,
    training,
    validation,
)
from desed_task.errors import InputError, run_cli

SUBJECTS = {
    "all": everything.main,
    "curves": curves.main,
    "epochs": epochs.main,
    "evaluation": evaluation.main,
    "inference": inference.main,
    "loading": loading.main,
    "memory": memory.main,
    "step": step.main,
    "training": training.main,
    "validation": validation.main,
}


def main() -> int:
    """Run the subject of the command line."""
    subject = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if subject in ("-h", "--help"):
        print(f"{__doc__}\nSubjects: {', '.join(SUBJECTS)}")
        return 0
    if subject not in SUBJECTS:
        raise InputError(f"unknown subject {subject!r}; known: {', '.join(SUBJECTS)}")
    return SUBJECTS[subject](sys.argv[2:])


if __name__ == "__main__":
    run_cli(main)
