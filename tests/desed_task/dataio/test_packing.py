import dataclasses
import itertools
import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from desed_task.dataio import packed_store, packing
from desed_task.dataio.audio import read_excerpt
from desed_task.dataio.batch import collate
from desed_task.dataio.datasets import ClipDataset, ClipRequest
from desed_task.dataio.packed_store import INDEX, SAMPLES, PackedStore, StoreIndex, store_path
from desed_task.dataio.packing import Packed, defect_of, pack_folder
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.audio_files import write_tone

RATE = 16000
CLASSES = ("Cat", "Dog")
GRID = FrameGrid()
LENGTHS = {"a.wav": 1, "b.wav": 5000, "c.wav": 160000, "d.wav": 200000, "Küche 1.wav": 65536}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips of 16 bits, shorter and longer than 10 s, of all values."""
    (tmp_path / "16k").mkdir()
    rng = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        audio = rng.permutation(np.arange(200000) % 65536 - 32768)[:length].astype(np.int16)
        soundfile.write(tmp_path / "16k" / name, audio, RATE, subtype="PCM_16")
    return tmp_path / "16k"


def pack(folder: Path) -> Packed:
    return pack_folder(folder, RATE, workers=2, progress=False)


def assert_whole(folder: Path) -> None:
    assert defect_of(store_path(folder), folder, RATE) is None
    assert sorted(os.listdir(store_path(folder))) == [INDEX, "lock", SAMPLES]


def dataset(folder: Path, store: PackedStore | None) -> ClipDataset:
    events = {name: [Event(1.0, 3.0, "Dog")] for name in sorted(LENGTHS)}
    return ClipDataset.strong(folder, events, CLASSES, GRID, store)


def test_clips_are_those_of_the_wav_files(folder: Path) -> None:
    assert pack(folder) == Packed(store_path(folder), clips=5, left_out=0, made=True)
    store = PackedStore(store_path(folder))
    for name in LENGTHS:
        for seed in (None, 0, 1, 2):
            expected = read_excerpt(folder / name, RATE, 160000, seed)
            found = store.excerpt(name, 160000, seed)
            assert found is not None
            assert found.audio.dtype == expected.audio.dtype == np.int16
            np.testing.assert_array_equal(found.audio, expected.audio)
            assert found[1:] == expected[1:]
    assert store.excerpt("e.wav", 160000) is None
    assert store.excerpt("a", 160000) is None


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_batches_are_the_same_from_store_and_wav_in_any_process(
    folder: Path, start_method: str
) -> None:
    pack(folder)
    requests = [[ClipRequest(3, 5), ClipRequest(0, 6)], [ClipRequest(2, 7), ClipRequest(4, 8)]]
    wav = dataset(folder, None)
    expected = [collate([wav[request] for request in batch]) for batch in requests]
    for path in folder.iterdir():  # not read any more
        path.unlink()
    loader = DataLoader(
        dataset(folder, PackedStore(store_path(folder))),
        batch_sampler=requests,
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=start_method,
    )
    for found, batch in zip(loader, expected, strict=True):
        assert found.audio.dtype == torch.int16
        assert torch.equal(found.audio, batch.audio)
        assert torch.equal(found.targets, batch.targets)
        assert torch.equal(found.seconds, batch.seconds)
        assert found.names == batch.names


def test_clips_that_16_bits_do_not_hold_come_from_their_files(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(folder / "b.wav", 1.0, RATE, channels=2)
    soundfile.write(folder / "d.wav", np.full(RATE, 1e-6), RATE, subtype="FLOAT")
    assert pack(folder) == Packed(store_path(folder), clips=5, left_out=2, made=True)
    assert "2 of 5 clips are not of one channel and 16 bits" in caplog.text
    stored, wav = dataset(folder, PackedStore(store_path(folder))), dataset(folder, None)
    for index in range(5):
        assert stored[index].audio.dtype == wav[index].audio.dtype
        assert torch.equal(stored[index].audio, wav[index].audio)
    assert stored[4].name == "d.wav"
    assert stored[4].audio[0] == np.float32(1e-6)


def test_neither_index_nor_data_set_holds_an_object_per_clip(folder: Path) -> None:
    pack(folder)
    store = PackedStore(store_path(folder))
    clips = dataset(folder, store)
    held = [*vars(clips).values(), *vars(store).values(), *vars(store.index).values()]
    arrays = [value for value in held if isinstance(value, np.ndarray)]
    assert len(arrays) == 4 + 1 + 6
    assert all(array.dtype != object for array in arrays)
    assert isinstance(store._samples, np.memmap)
    others = [value for value in held if not isinstance(value, np.ndarray)]
    assert all(not isinstance(value, (list, dict, set)) for value in others)
    assert all(len(value) == 2 for value in others if isinstance(value, tuple))  # the classes
    assert len(pickle.dumps(store)) < 500


def test_what_is_whole_is_only_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(folder)
    before = {name: (store_path(folder) / name).stat().st_mtime_ns for name in (SAMPLES, INDEX)}

    def written(path: Path) -> None:
        raise AssertionError("wants to write")

    monkeypatch.setattr(packing, "_alone", written)
    assert pack(folder) == Packed(store_path(folder), clips=5, left_out=0, made=False)
    after = {name: (store_path(folder) / name).stat().st_mtime_ns for name in before}
    assert after == before


CHANGES: dict[str, Callable[[Path], object]] = {
    "1 files were added and 0 removed": lambda folder: write_tone(folder / "new.wav"),
    "0 files were added and 1 removed": lambda folder: (folder / "a.wav").unlink(),
    "1 files were added and 1 removed": lambda folder: (folder / "a.wav").rename(folder / "z.wav"),
    "a.wav and 0 others were changed": lambda folder: write_tone(folder / "a.wav", 0.3),
    "c.wav and 0 others were changed": lambda folder: os.utime(folder / "c.wav", ns=(5, 5)),
}


@pytest.mark.parametrize("message", CHANGES)
def test_it_is_made_again_when_its_sources_change(
    folder: Path, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    pack(folder)
    CHANGES[message](folder)
    assert pack(folder).made
    assert f"{message} in {folder} since it was made: the packed store is made again" in caplog.text
    assert_whole(folder)
    store = PackedStore(store_path(folder))
    for path in folder.iterdir():
        expected = read_excerpt(path, RATE, 160000).audio
        np.testing.assert_array_equal(store.excerpt(path.name, 160000)[0], expected)  # type: ignore[index]
    assert not pack(folder).made


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _cut(path: Path, keep: float) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "samples cut": (SAMPLES, lambda path: _cut(path, 0.7), "bytes instead of"),
    "samples empty": (SAMPLES, lambda path: _cut(path, 0), "has 0 bytes instead of"),
    "samples longer": (SAMPLES, lambda path: path.open("ab").write(b"ab"), "bytes instead of"),
    "samples gone": (SAMPLES, Path.unlink, "cannot be read"),
    "first sample": (SAMPLES, lambda path: _flip(path, 0), "the samples of Küche 1.wav are not"),
    "last sample": (SAMPLES, lambda path: _flip(path, -1), "the samples of d.wav are not"),
    "index cut": (INDEX, lambda path: _cut(path, 0.7), "is cut off or damaged"),
    "index empty": (INDEX, lambda path: _cut(path, 0), "is cut off or damaged"),
    "index damaged": (INDEX, lambda path: _flip(path, 700), "is cut off or damaged"),
    "index gone": (INDEX, Path.unlink, "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_made_again_with_a_message(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    pack(folder)
    path = store_path(folder)
    whole = (path / SAMPLES).read_bytes()
    name, harm, message = DAMAGES[damage]
    harm(path / name)
    if not damage.endswith("sample"):  # those the checksums alone tell, and they take time
        with pytest.raises(InputError, match="the preparation of its set makes it again"):
            PackedStore(path)
    assert pack(folder).made
    assert message in caplog.text
    assert "the packed store is made again" in caplog.text
    assert (path / SAMPLES).read_bytes() == whole
    assert_whole(folder)


def test_a_store_of_another_rate_or_version_is_made_again(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folder)
    path = store_path(folder)
    index = StoreIndex.read(path / INDEX)
    dataclasses.replace(index, sample_rate=8000).write(path / INDEX)
    with pytest.raises(InputError, match="is at 8000 Hz, expected 16000 Hz"):
        dataset(folder, PackedStore(path))
    assert pack(folder).made
    assert "is at 8000 Hz, not 16000 Hz" in caplog.text
    with monkeypatch.context() as older:
        older.setattr("desed_task.dataio.packed_store.VERSION", 0)
        index.write(path / INDEX)
    assert pack(folder).made
    assert "was made by another version of this program" in caplog.text
    assert_whole(folder)


def test_an_interrupted_packing_leaves_nothing_that_is_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, seen = packing.read_samples, []

    def interrupted(*args: Any) -> Any:
        seen.append(args)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read(*args)

    path = store_path(folder)
    monkeypatch.setattr(packing, "read_samples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(folder)
    assert os.listdir(path) == ["lock"]
    monkeypatch.undo()
    (path / "samples.partial-4711.i16").write_bytes(b"half")  # of a run that was killed
    caplog.set_level(logging.INFO)
    assert pack(folder).made
    assert "is made again" not in caplog.text
    assert_whole(folder)


def test_files_get_their_names_when_they_are_whole_the_index_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folder)
    write_tone(folder / "new.wav")
    path, seen = store_path(folder), []
    replace = Path.replace

    def watched(part: Path, target: Path) -> Any:
        seen.append((target.name, (path / INDEX).exists(), part.stat().st_size))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    pack(folder)
    samples = 2 * (sum(LENGTHS.values()) + 8000)
    assert seen == [(SAMPLES, False, samples), (INDEX, False, (path / INDEX).stat().st_size)]


def _pack_and_tell(folder: Path, results: Any) -> None:
    results.put(pack(folder).made)


def test_of_two_processes_one_makes_it_and_the_other_waits(folder: Path) -> None:
    for number in range(60):
        write_tone(folder / f"more{number}.wav", 2.0)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    for _ in range(3):
        processes = [
            context.Process(target=_pack_and_tell, args=(folder, results)) for _ in range(2)
        ]
        for process in processes:
            process.start()
        made = [results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert sorted(made) == [False, True]
        assert_whole(folder)
        _flip(store_path(folder) / SAMPLES, 100)


def test_a_place_that_cannot_be_written_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_path(folder)
    path.write_text("in the way")
    with pytest.raises(InputError, match=r"16k\.store: the packed store cannot be written: .*WAV"):
        pack(folder)
    path.unlink()

    def full(part: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"16k\.store: .*: No space left on device"):
        pack(folder)
    assert os.listdir(path) == ["lock"]


def test_wav_files_that_cannot_be_packed_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no \.wav file"):
        pack(tmp_path / "none")
    assert not store_path(tmp_path / "none").exists()
    write_tone(folder / "b.wav", rate=44100)
    with pytest.raises(InputError, match=r"b\.wav: is at 44100 Hz, expected 16000 Hz"):
        pack(folder)
    (folder / "b.wav").write_text("no audio")
    with pytest.raises(InputError, match=r"b\.wav: cannot be read as audio"):
        pack(folder)


def test_a_store_that_was_never_made_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"16k\.store.index\.npz: cannot be read: No such file"):
        PackedStore(store_path(folder))


def test_a_store_that_is_replaced_while_it_is_opened_is_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folder)
    identity, calls = packed_store._identity, itertools.count()

    def changing(path: Path) -> tuple[int, ...]:
        return (next(calls),) if next(changed, False) else (0, *(identity(path) or ()))

    monkeypatch.setattr(packed_store, "_identity", changing)
    changed = iter([False, True])  # after the first attempt
    assert PackedStore(store_path(folder)).index.names[0] == "Küche 1.wav".encode()
    changed = itertools.repeat(True)
    with pytest.raises(InputError, match="changes while it is opened"):
        PackedStore(store_path(folder))
