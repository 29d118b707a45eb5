"""Hostile files: what a stranger may send instead of a checkpoint, a configuration, audio, a table.

Each maker writes one small file below a folder and returns its path. Nothing here is larger than
a few megabytes on disk; what the files claim to hold is. `python -m tests.support.hostile FOLDER`
reads all of them in one process of limited memory and prints JSON: kind/name -> `outcome`.
"""

import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from desed_task.dataio.audio import audio_info, read_audio
from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth
from local.config.load import load_config
from local.run.checkpoints import checkpoint_config, checkpoint_weights, read_checkpoint
from tests.support.classes import CLASSES
from tests.support.readers import COLUMNS, table_readers

Maker = Callable[[Path], Path]
# Code in a checkpoint that ran would create this file.
TRACE = "code_was_run"
LONG_LINE = 5_000_000  # characters
MEMORY_LIMIT = 4 * 2**30  # bytes of data that the process may have
PATIENCE = 20  # seconds for one file


def _archive(path: Path, pickled: bytes, **members: bytes) -> Path:
    """A file in PyTorch's zip format with these pickle bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for name, content in members.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return path


def _touch(folder: Path) -> bytes:
    """The shell command that leaves a trace, as a pickled string."""
    command = f"touch {folder / TRACE}".encode()
    return b"X" + struct.pack("<I", len(command)) + command


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def opcodes(folder: Path) -> dict[str, bytes]:
    """Pickles that call `os.system`, one for each way the format has to call something."""
    command = _touch(folder)
    evil_setstate = (
        b"\x80\x02ccollections\nOrderedDict\n)\x81" + b"}(" + _short("__class__") + command + b"ub."
    )
    return {
        "reduce": b"\x80\x02cposix\nsystem\n(" + command + b"tR.",
        "reduce_builtins": b"\x80\x02cbuiltins\neval\n("
        + b"X"
        + struct.pack("<I", 30)
        + b"__import__('os').system('true')"[:30]
        + b"tR.",
        "inst": b"(" + command + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + command + b"o.",
        "newobj": b"\x80\x02csubprocess\nPopen\n(" + command + b"t\x81.",
        "newobj_ex": b"\x80\x04csubprocess\nPopen\n(" + command + b"t}\x92.",
        "stack_global": b"\x80\x04"
        + _short("posix")
        + _short("system")
        + b"\x93("
        + command
        + b"tR.",
        "nested_global": b"\x80\x04"
        + _short("torch")
        + _short("os.system")
        + b"\x93("
        + command
        + b"tR.",
        "storage_of_os": b"\x80\x02ctorch.storage\nos.system.UntypedStorage\n(" + command + b"tR.",
        "build": evil_setstate,
        "persistent_id": b"\x80\x02("
        + _short("storage")
        + b"cposix\nsystem\n"
        + _short("0")
        + _short("cpu")
        + b"K\x01tQ.",
        "extension": b"\x80\x02\x82\x01.",
        "memo": b"\x80\x02h\xff.",
        "stack_underflow": b"\x80\x02tR.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        "huge_bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
        "huge_list": b"\x80\x02(" + b"K\x00" * 10 + b"l2" * 40 + b"t.",
        "deep": b"(" * 100_000 + b"l" * 100_000 + b".",
    }


def checkpoint_makers(folder: Path) -> dict[str, Maker]:
    """Checkpoints that try to run code, to exhaust memory, or to leave their folder."""

    def with_pickle(content: bytes) -> Maker:
        return lambda path: _archive(path, content)

    makers: dict[str, Maker] = {name: with_pickle(code) for name, code in opcodes(folder).items()}
    makers |= {
        "bare_pickle": lambda path: _bytes(path, opcodes(folder)["reduce"]),
        "zip_bomb": _zip_bomb,
        "nested_zip": _nested_zip,
        "path_traversal": _path_traversal,
        "symbolic_link_inside": _symbolic_link,
        "declared_size": _declared_size,
        "huge_storage": lambda path: _archive(path, _tensor_pickle(2**40, (2**40,), (1,))),
        "storage_call": lambda path: _archive(
            path,
            b"\x80\x02ctorch\nUntypedStorage\n\x8a\x06" + (2**44).to_bytes(6, "little") + b"\x85R.",
        ),
        "expanded_tensor": lambda path: _archive(
            path, _tensor_pickle(1, (2**40,), (0,)), data__0=b"\0\0\0\0"
        ),
        "negative_stride": lambda path: _archive(
            path, _tensor_pickle(4, (4,), (-1,)), data__0=b"\0" * 16
        ),
        "outside_of_storage": lambda path: _archive(
            path, _tensor_pickle(1, (1_000_000,), (1,)), data__0=b"\0\0\0\0"
        ),
        "missing_storage": lambda path: _archive(path, _tensor_pickle(4, (4,), (1,))),
        "nested_lists": _nested_lists,
        "not_a_mapping": lambda path: _saved(path, [1, 2, 3]),
        "weights_of_other_types": lambda path: _saved(
            path, {"state_dict": {"networks.student.a": "text"}, "hyper_parameters": {}}
        ),
        "names_of_other_types": lambda path: _saved(
            path, {"state_dict": {1: torch.ones(1)}, "hyper_parameters": {}}
        ),
        "empty": lambda path: _bytes(path, b""),
        "zip_end_alone": lambda path: _bytes(path, b"PK\x05\x06" + b"\0" * 18),
    }
    return makers


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def _tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A `state_dict` with one float tensor of this size and stride over a storage of `numel`."""

    def numbers(values: tuple[int, ...]) -> bytes:
        longs = [b"\x8a\x08" + value.to_bytes(8, "little", signed=True) for value in values]
        return b"(" + b"".join(longs) + b"t"

    storage = (
        b"("
        + _short("storage")
        + b"ctorch\nFloatStorage\n"
        + _short("0")
        + _short("cpu")
        + b"\x8a\x08"
        + numel.to_bytes(8, "little")
        + b"tQ"
    )
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00"
        + numbers(size)
        + numbers(stride)
        + b"\x89"
        + b"ccollections\nOrderedDict\n)R"
        + b"tR"
    )
    return (
        b"\x80\x02}("
        + _short("state_dict")
        + b"}"
        + _short("networks.student.w")
        + tensor
        + b"s"
        + _short("hyper_parameters")
        + b"}u."
    )


def _zip_bomb(path: Path) -> Path:
    """A gigabyte of zeros, deflated to one megabyte, as the pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(2**24))
        archive.writestr("archive/version", b"3\n")
    return path


def _nested_zip(path: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": {}}))
    return _archive(path, inner.getvalue())


def _path_traversal(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../{TRACE}", b"written outside")
        archive.writestr("../data.pkl", pickle.dumps({"state_dict": {}}))
        archive.writestr("/tmp/data.pkl", b"")
    return path


def _symbolic_link(path: Path) -> Path:
    info = zipfile.ZipInfo("archive/data.pkl")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("archive/version", b"3\n")
    return path


def _declared_size(path: Path) -> Path:
    """The directory claims that the pickle has 4 GB."""
    _archive(path, pickle.dumps({"state_dict": {}}))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    return _bytes(path, bytes(content))


def _nested_lists(path: Path) -> Path:
    """Lists of twice the same list, 60 deep: as text they are 2^60 characters long."""
    value: list[object] = [0]
    for _ in range(60):
        value = [value, value]
    return _saved(path, {"state_dict": {}, "hyper_parameters": {"training": value}})


def yaml_texts() -> dict[str, str]:
    """YAML that names Python objects, grows when it is read, or nests deeply."""
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    mappings = "m0: &m0 {k: v}\n" + "".join(
        f"m{n}: &m{n} {{a: *m{n - 1}, b: *m{n - 1}}}\n" for n in range(1, 40)
    )
    return {
        "python_object": "training: !!python/object/apply:os.system ['true']\n",
        "python_name": "training: !!python/name:os.system\n",
        "custom_tag": "training: !evil {a: 1}\n",
        "binary": "training: !!binary aGVsbG8=\n",
        "set": "training: !!set {a, b}\n",
        "timestamp": "training: 2001-12-14t21:59:43.10-05:00\n",
        "laughs": laughs,
        "laughs_in_a_section": laughs + "training: *a11\n",
        "laughs_of_mappings": mappings + "training: *m39\nnet: *m39\n",
        "recursive": "training: &t {batch_size: *t}\n",
        "recursive_list": "training: {batch_size: &b [*b]}\n",
        "deep_lists": "training: " + "[" * 20_000 + "]" * 20_000 + "\n",
        "deep_mappings": "training: " + "{a: " * 20_000 + "}" * 20_000 + "\n",
        "merge": "training: {<<: 5}\n",
        "merge_of_itself": "training: &t {<<: *t}\n",
        "list_as_key": "? [a, b]\n: 1\n",
        "mapping_as_key": "{{a: b}: c}\n",
        "long_integer": "training: {seed: " + "9" * 100_000 + "}\n",
        "hexadecimal": "training: {seed: 0x" + "f" * 100_000 + "}\n",
        "sexagesimal": "training: {seed: " + ":".join(["59"] * 50_000) + "}\n",
        "two_documents": "training: {}\n---\nnet: {}\n",
        "nul": "training: {seed: 1\0}\n",
        "tab": "training:\n\tseed: 1\n",
        "list": "- 1\n- 2\n",
        "empty": "",
        "extends_itself": "extends: extends_itself.yaml\n",
        "extends_a_list": "extends: [a, b]\n",
        "extends_a_folder": "extends: .\n",
        "extends_a_device": "extends: /dev/null\n",
        "long_text": "training: {precision: " + "x" * 1_000_000 + "}\n",
    }


def wav_bytes() -> dict[str, bytes]:
    """WAV files with wrong headers."""

    def riff(fmt: bytes, data_size: int, data: bytes, size: int | None = None) -> bytes:
        body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
        body += b"data" + struct.pack("<I", data_size) + data
        return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body

    def fmt(channels: int = 1, rate: int = 16000, bits: int = 16, tag: int = 1) -> bytes:
        width = channels * bits // 8
        byte_rate = rate * width % 2**32
        return struct.pack("<HHIIHH", tag, channels, rate, byte_rate, width % 2**16, bits)

    samples = np.zeros(1600, dtype="<i2").tobytes()
    return {
        "samples_2_32": riff(fmt(), 2**32 - 2, samples, 2**32 - 1),
        "more_than_there_is": riff(fmt(), 2**31, samples),
        "no_channel": riff(fmt(channels=0), len(samples), samples),
        "many_channels": riff(fmt(channels=65535), len(samples), samples),
        "no_rate": riff(fmt(rate=0), len(samples), samples),
        "highest_rate": riff(fmt(rate=2**32 - 1), len(samples), samples),
        "no_bits": riff(fmt(bits=0), len(samples), samples),
        "odd_bits": riff(fmt(bits=13), len(samples), samples),
        "unknown_format": riff(fmt(tag=0x7777), len(samples), samples),
        "no_data": riff(fmt(), 0, b""),
        "no_format": b"RIFF" + struct.pack("<I", 12) + b"WAVEdata" + struct.pack("<I", 0),
        "chunk_that_never_ends": b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\xff" + samples,
        "flac_of_2_36": b"fLaC\x80\0\0\x22"
        + b"\x10\0" * 2
        + b"\0" * 6
        + bytes.fromhex("03e800fff fffffff".replace(" ", "")[:16])
        + b"\0" * 16,
        "text": b"onset\toffset\n",
        "nothing": b"",
        "nan": riff(fmt(bits=32, tag=3), 400, np.full(100, np.nan, "<f4").tobytes()),
    }


def table_bytes(columns: str) -> dict[str, bytes]:
    """Tables with the header `columns` (tab-separated) or something else in its place."""
    head = columns.encode()
    width = columns.count("\t") + 1
    return {
        "one_long_line": head + b"\n" + b"x" * LONG_LINE + b"\n",
        "one_long_header": b"x" * LONG_LINE + b"\n",
        "many_columns": head + b"\n" + b"\t" * 100_000 + b"\n",
        "millions_of_fields": head + b"\n" + b"ab\t" * (LONG_LINE // 3) + b"\n",
        "millions_of_columns": b"onset\toffset\t" + b"ab\t" * (LONG_LINE // 3) + b"\n0\t1\n",
        "millions_of_tags": head + b"\na.wav" + b"\t" * (width - 1) + b"ab," * (LONG_LINE // 3),
        "wrong_rows": head + b"\n" + (b"a.wav" + b"\t8" * (width - 1) + b"\n") * 10_000,
        "nul": head + b"\n" + b"\t".join([b"a\0b"] * width) + b"\n",
        "not_utf_8": head + b"\n" + b"\t".join([b"\xff\xfe"] * width) + b"\n",
        "utf_16": (columns + "\n").encode("utf-16"),
        "overflow": head + b"\n" + b"\t".join([b"1e999"] * width) + b"\n",
        "long_number": head + b"\n" + b"\t".join([b"9" * 100_000] * width) + b"\n",
        "open_quote": head + b"\n" + b'"' + b"\t".join([b"a"] * width) + b"\n" * 1000,
        "binary": bytes(range(256)) * 100,
        "empty": b"",
        "carriage_returns": head + b"\r" + b"\t".join([b"a"] * width) + b"\r",
    }


def make_fifo(path: Path) -> Path:
    """A named pipe: who opens it waits for ever."""
    os.mkfifo(path)
    return path


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"still reading after {PATIENCE} s")


def outcome(read: Callable[[], object]) -> str | None:
    """The message of an InputError; None for a value; FAULT and its name for another exception."""
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
    found: dict[str, str | None] = {}

    def checkpoint(path: Path) -> None:
        content = read_checkpoint(path)
        checkpoint_config(content, str(path))
        checkpoint_weights(content, str(path))

    def audio(path: Path) -> None:
        audio_info(path)
        read_audio(path, 16000)

    for name, make in checkpoint_makers(folder).items():
        path = make(folder / f"{name}.ckpt")
        found[f"checkpoint/{name}"] = outcome(partial(checkpoint, path))
        path.unlink()
    for name, text in yaml_texts().items():
        path = folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        found[f"yaml/{name}"] = outcome(partial(load_config, path))
        value = f"training.seed={text}"
        found[f"set/{name}"] = outcome(partial(load_config, Path("confs/sed.yaml"), [value]))
    for name, content in wav_bytes().items():
        path = folder / f"{name}.wav"
        path.write_bytes(content)
        found[f"wav/{name}"] = outcome(partial(audio, path))
    fifo = make_fifo(folder / "fifo.wav")
    found["wav/named_pipe"] = outcome(lambda: read_audio(fifo, 16000))
    truth = GroundTruth(CLASSES, {"a.wav": []}, {"a.wav": 10.0})
    readers = table_readers(truth)
    for kind, columns in COLUMNS.items():
        read = readers[kind]
        for name, content in table_bytes(columns).items():
            path = folder / f"{kind}_{name}.tsv"
            path.write_bytes(content)
            found[f"{kind}/{name}"] = outcome(partial(read, path))
            path.unlink()
    scores = folder / "scores"
    scores.mkdir()
    columns = "\t".join(("onset", "offset", *CLASSES))
    for name, content in table_bytes(columns).items():
        (scores / "a.tsv").write_bytes(content)
        found[f"scores/{name}"] = outcome(partial(readers["scores"], scores / "a.tsv"))
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    json.dump(main(Path(sys.argv[1])), sys.stdout)
