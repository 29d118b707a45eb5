"""Read all hostile files in one process of limited memory: `python -m … FOLDER`.

Prints a JSON object: kind/name -> the message of the InputError, None where a value was read, or
another exception's name, which is a fault.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

MEMORY_LIMIT = 4 * 2**30  # bytes of data that the process may have
PATIENCE = 20  # seconds for one file


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"still reading after {PATIENCE} s")


def outcome(read: Callable[[], object]) -> str | None:
    """What becomes of one reading."""
    from desed_task.errors import InputError

    signal.alarm(PATIENCE)
    try:
        read()
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"FAULT {type(error).__name__}: {error}"[:500]
    finally:
        signal.alarm(0)
    return None


def main(folder: Path) -> dict[str, str | None]:
    """Make and read every file of the corpus."""
    from desed_task.dataio.annotations import read_durations, read_strong, read_weak
    from desed_task.dataio.audio import audio_info, read_audio
    from desed_task.evaluation import GroundTruth, read_predictions, read_scores
    from local.config.load import load_config
    from local.run.checkpoints import checkpoint_config, checkpoint_weights, read_checkpoint
    from tests.support import hostile
    from tests.support.classes import CLASSES

    found: dict[str, str | None] = {}

    def checkpoint(path: Path) -> None:
        content = read_checkpoint(path)
        checkpoint_config(content, str(path))
        checkpoint_weights(content, str(path))

    def audio(path: Path) -> None:
        audio_info(path)
        read_audio(path, 16000)

    for name, make in hostile.checkpoint_makers(folder).items():
        path = make(folder / f"{name}.ckpt")
        found[f"checkpoint/{name}"] = outcome(partial(checkpoint, path))
        path.unlink()
    for name, text in hostile.yaml_texts().items():
        path = folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        found[f"yaml/{name}"] = outcome(partial(load_config, path))
        value = f"training.seed={text}"
        found[f"set/{name}"] = outcome(partial(load_config, Path("confs/sed.yaml"), [value]))
    for name, content in hostile.wav_bytes().items():
        path = folder / f"{name}.wav"
        path.write_bytes(content)
        found[f"wav/{name}"] = outcome(partial(audio, path))
    fifo = hostile.make_fifo(folder / "fifo.wav")
    found["wav/named_pipe"] = outcome(lambda: read_audio(fifo, 16000))
    truth = GroundTruth(CLASSES, {"a.wav": []}, {"a.wav": 10.0})
    readers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "strong": ("filename\tonset\toffset\tevent_label", lambda path: read_strong(path, CLASSES)),
        "weak": ("filename\tevent_labels", lambda path: read_weak(path, CLASSES)),
        "durations": ("filename\tduration", read_durations),
        "predictions": (
            "filename\tonset\toffset\tevent_label",
            lambda path: read_predictions(path, truth),
        ),
    }
    for kind, (columns, read) in readers.items():
        for name, content in hostile.table_bytes(columns).items():
            path = folder / f"{kind}_{name}.tsv"
            path.write_bytes(content)
            found[f"{kind}/{name}"] = outcome(partial(read, path))
            path.unlink()
    scores = folder / "scores"
    scores.mkdir()
    columns = "\t".join(("onset", "offset", *CLASSES))
    for name, content in hostile.table_bytes(columns).items():
        (scores / "a.tsv").write_bytes(content)
        found[f"scores/{name}"] = outcome(lambda: read_scores(scores, truth))
    return found


if __name__ == "__main__":
    import torch  # noqa: F401 - before the limit: its libraries are no data of the files

    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    json.dump(main(Path(sys.argv[1])), sys.stdout)
