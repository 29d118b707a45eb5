"""Stored embeddings: rows of windows, taken over after a kill and a change, shared by processes."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from desed_task.dataio import embed
from desed_task.dataio.batch import ClipKind
from desed_task.dataio.datasets import ClipDataset, ClipRequest, WindowDataset
from desed_task.dataio.embed import store_embeddings
from desed_task.dataio.embeddings import Embeddings
from desed_task.encoder.encoder import FrameEncoder
from desed_task.errors import FaultError, InputError
from desed_task.files import only_writer
from desed_task.frames import FrameGrid
from tests.support.audio_files import write_tone
from tests.support.tiny_encoder import STEP, tiny_encoder_settings

GRID = FrameGrid(clip_seconds=1.0)
SETTINGS = tiny_encoder_settings("a function of the test", dimension=2)
SECONDS = {"a.wav": 1.0, "b.wav": 0.5, "long.wav": 2.6}  # 1, 1 and 5 windows
N_WINDOWS = 7


class Counting:
    """An encoder whose steps are the audio's first two samples; counts the windows it reads.

    Args:
        fails_at: number of the window at which it fails as a killed process.
        scale: of its output.
    """

    def __init__(self, fails_at: int = 10**6, scale: float = 1.0) -> None:
        self.windows, self.fails_at, self.scale = 0, fails_at, scale

    def __call__(self, audio: Tensor) -> Tensor:
        if audio.any():  # not the clip of silence that shows the shape
            self.windows += len(audio)
        if self.windows >= self.fails_at:
            raise KeyboardInterrupt
        return audio.unfold(1, STEP, STEP)[..., :2] * self.scale


def _store(folder: Path, function: Counting, digest: str = "0") -> int:
    """Store what is missing; returns the number of windows that the encoder read."""
    encoder = FrameEncoder(SETTINGS, function, GRID, digest)
    seconds = {name: SECONDS.get(name, 1.0) for name in sorted(os.listdir(folder))}
    store_embeddings(folder, seconds, encoder, batch_size=2, progress=False)
    return function.windows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of clips, two of them as long as the grid or shorter."""
    for number, (name, seconds) in enumerate(SECONDS.items()):
        write_tone(tmp_path / "16k" / name, seconds, hertz=313.0 + 100 * number)
    return tmp_path / "16k"


def _clips(folder: Path, digest: str = "0") -> ClipDataset:
    names = [*SECONDS]
    rows = Embeddings.of(folder, SETTINGS, GRID, digest).rows(names)
    events: dict[str, tuple[()]] = dict.fromkeys(names, ())
    return ClipDataset(folder, events, SECONDS, ClipKind.UNLABELLED, (), GRID, rows)


def _check(clips: ClipDataset) -> None:
    """Each window, and each crop of a training, has the embeddings of its own audio."""
    crops = [clips[ClipRequest(number, seed)] for number in range(3) for seed in range(6)]
    windows = WindowDataset(clips)
    assert len(windows) == N_WINDOWS
    for clip in (*crops, *(windows[number] for number in range(N_WINDOWS))):
        assert clip.embeddings is not None
        expected = (clip.audio.float() / 2**15).unfold(0, STEP, STEP)[:, :2]
        torch.testing.assert_close(clip.embeddings.float(), expected, rtol=0, atol=3e-4)
    assert len({float(clip.embeddings.float().sum()) for clip in crops[12:]}) > 1  # type: ignore[union-attr]


def test_windows_and_crops_have_the_embeddings_of_their_audio(folder: Path) -> None:
    assert _store(folder, Counting()) == N_WINDOWS
    clips = _clips(folder)
    _check(clips)
    copied = pickle.dumps(clips)
    assert len(copied) < Embeddings.of(folder, SETTINGS, GRID, "0").file.stat().st_size
    _check(pickle.loads(copied))
    assert _store(folder, Counting()) == 0


def test_an_interrupted_run_is_continued(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _store(folder, Counting(fails_at=6))
    stored = Embeddings.of(folder, SETTINGS, GRID, "0")
    assert [*stored.records] == ["a.wav", "b.wav"]
    assert stored.missing(SECONDS, GRID) == ["long.wav"]
    assert _store(folder, Counting()) == 5
    _check(_clips(folder))


def test_a_killed_run_loses_what_was_not_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is replaced every few seconds; rows that it does not have are made again."""
    monkeypatch.setattr(embed, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(embed._Writer, "__exit__", lambda *_: None)  # as if it were killed
    with pytest.raises(KeyboardInterrupt):
        _store(folder, Counting(fails_at=4))
    monkeypatch.undo()
    assert _store(folder, Counting()) == 5
    _check(_clips(folder))


def test_changed_new_and_removed_clips(folder: Path) -> None:
    _store(folder, Counting())
    before = _clips(folder)
    old = before[0].embeddings
    write_tone(folder / "a.wav", 1.0, hertz=1777.0)
    write_tone(folder / "new.wav", 1.0, hertz=777.0)
    assert _store(folder, Counting()) == 2
    _check(_clips(folder))
    now = before[0].embeddings
    assert old is not None
    assert now is not None
    assert torch.equal(now, old)  # rows in use are not changed
    stored = Embeddings.of(folder, SETTINGS, GRID, "0")
    size = stored.file.stat().st_size
    (folder / "new.wav").unlink()
    write_tone(folder / "b.wav", 0.5, hertz=1999.0)
    assert _store(folder, Counting()) == 1
    _check(_clips(folder))
    assert stored.file.stat().st_size == size  # in the rows that were left
    assert np.load(stored.file).shape == (N_WINDOWS + 2, 50, 2)


def test_encoders_and_settings_have_files_of_their_own(folder: Path) -> None:
    _store(folder, Counting())
    assert _store(folder, Counting(scale=0.5), digest="1") == N_WINDOWS
    _check(_clips(folder))
    found = Embeddings.with_source(folder, SETTINGS, GRID)
    assert {each.digest for each in found} == {"0", "1"}
    for other in (SETTINGS.model_copy(update={"sample_rate": 8000}), None):
        grid = GRID if other else FrameGrid(clip_seconds=2.0)
        assert not Embeddings.of(folder, other or SETTINGS, grid, "0").records
        assert not Embeddings.with_source(folder, other or SETTINGS, grid)
    finer = FrameGrid(clip_seconds=1.0, hop_length=128)  # windows of long clips start elsewhere
    stored = Embeddings.of(folder, SETTINGS, finer, "0")
    assert stored.missing(SECONDS, finer) == ["long.wav"]
    same = SETTINGS.model_copy(update={"source": "elsewhere", "dropout": 0.5, "branches": ("sed",)})
    assert not Embeddings.of(folder, same, GRID, "0").missing(SECONDS, GRID)


def test_a_moved_folder_keeps_them(folder: Path) -> None:
    _store(folder, Counting())
    moved = folder.parent.parent / f"{folder.parent.name} moved"
    folder.parent.rename(moved)
    _check(_clips(moved / "16k"))


@pytest.mark.parametrize("damage", ["rows", "manifest"])
def test_damaged_files_are_made_again(folder: Path, damage: str) -> None:
    _store(folder, Counting())
    stored = Embeddings.of(folder, SETTINGS, GRID, "0")
    path = stored.file if damage == "rows" else stored.manifest
    path.write_bytes(path.read_bytes()[:-200])
    assert _store(folder, Counting()) == N_WINDOWS
    _check(_clips(folder))


@pytest.mark.parametrize(("scale", "got"), [(1e6, r"\d+"), (float("nan"), "nan")])
def test_values_that_cannot_be_stored_name_the_clip(folder: Path, scale: float, got: str) -> None:
    with pytest.raises(InputError, match=rf"16k/a\.wav: embeddings of .* 65504, .* got {got}"):
        _store(folder, Counting(scale=scale))


def test_one_process_at_a_time_stores(folder: Path) -> None:
    path = Embeddings.of(folder, SETTINGS, GRID, "0").file
    with only_writer(path):
        pid = os.fork()
        if pid == 0:
            os._exit(_store(folder, Counting()))
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        assert not path.exists()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == N_WINDOWS
    _check(_clips(folder))


def test_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embed._Writer, "_write", full)
    with pytest.raises(FaultError, match=r"16k\.embeddings-\w+\.npy: .*No space left.* MB, "):
        _store(folder, Counting())
