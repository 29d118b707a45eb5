import re
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pytest
import pytorch_lightning as pl
import torch

from desed_task.dataio.annotations import read_durations
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.errors import InputError
from desed_task.labels import Event
from local.config.data import KEYS
from local.config.load import Config, load_config
from local.data import DesedDataModule
from tests.support.audio_files import write_tone
from tests.support.classes import CLASSES
from tests.support.paths import CONFS

Form = Literal["NFC", "NFD"]
SPEECH, DOG = CLASSES.index("Speech"), CLASSES.index("Dog")
STRONG = (
    "data.strong_folder=strong_16k",
    "data.strong_folder_44k=strong_44k",
    "data.strong_tsv=strong.tsv",
)


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_strong(path: Path, names: list[str]) -> None:
    """All clips hold Dog in 0.1-0.4 s but the first, which has no event."""
    rows = [(names[0], "", "", ""), *((name, 0.1, 0.4, "Dog") for name in names[1:])]
    write_table(path, ("filename", "onset", "offset", "event_label"), rows)


@pytest.fixture(scope="module")
def original_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in DESED's layout, with the original audio alone; clips of 0.5 to 1.4 s."""
    folder = tmp_path_factory.mktemp("original")
    clips = dict(zip(KEYS, (8, 10, 11, 5, 3, 4, 2), strict=True))
    for name, count in clips.items():
        for number in range(count):
            path = folder / f"{name}_44k" / f"{name}{number}.wav"
            write_tone(path, 0.5 + 0.1 * (number % 10), 44100, 200 + 50 * number, 1 + number % 2)
    for name in clips.keys() - {"weak", "unlabelled"}:
        names = [f"{name}{number}.wav" for number in range(clips[name])]
        write_strong(folder / f"{name}.tsv", names)
    tags = [(f"weak{number}.wav", "Speech,Dog" if number else "Speech") for number in range(10)]
    write_table(folder / "weak.tsv", ("filename", "event_labels"), tags)
    return folder


@pytest.fixture(scope="module")
def prepared_tree(original_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the audio that training reads, made once."""
    folder = tmp_path_factory.mktemp("prepared") / "tree"
    shutil.copytree(original_tree, folder)
    config = configure(folder)
    DesedDataModule(config, config.grid, folder / "run" / "missing.tsv").prepare_data()
    return folder


@pytest.fixture
def tree(original_tree: Path, tmp_path: Path) -> Path:
    """A copy of the original data set, to change."""
    return Path(shutil.copytree(original_tree, tmp_path / "tree"))


@pytest.fixture
def prepared(prepared_tree: Path, tmp_path: Path) -> Path:
    """A copy of the prepared data set."""
    return Path(shutil.copytree(prepared_tree, tmp_path / "tree"))


def configure(tree: Path, *overrides: str) -> Config:
    paths = [
        f"data.{key}={name}{end}"
        for name, keys in KEYS.items()
        for key, end in zip(keys, ("_16k", "_44k", ".tsv", "_dur.tsv"), strict=True)
        if key is not None and name != "strong"
    ]
    return load_config(
        CONFS / "sed.yaml",
        [
            f"data.root={tree}",
            *paths,
            "data.audio_max_len=1.0",
            "training.batch_size=[2, 2, 3]",
            "training.batch_size_val=4",
            "training.num_workers=0",
            "training.weak_split=0.7",
            *overrides,
        ],
    )


def module(tree: Path, *overrides: str, stage: str = "fit") -> DesedDataModule:
    config = configure(tree, *overrides)
    data = DesedDataModule(config, config.grid, tree / "run" / "missing.tsv")
    data.prepare_data()
    data.setup(stage)
    return data


def test_training_batches_have_clips_of_all_sets(prepared: Path) -> None:
    data = module(prepared)
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 3  # 7 weak clips at 2 a batch
    for batch in batches:
        assert batch.audio.shape == (7, 16000)
        assert batch.targets.shape == (7, 10, data.grid.n_frames)
        assert batch.kind.tolist() == [0, 0, 1, 1, 2, 2, 2]
        assert _sets(batch) == ["synthetic"] * 2 + ["weak"] * 2 + ["unlabelled"] * 3
        assert not batch.targets[4:].any()
        assert (batch.tags[2:4, SPEECH] == 1).all()
        for name, target, seconds in zip(batch.names, batch.targets, batch.seconds, strict=True):
            number = int("".join(filter(str.isdigit, name)))
            assert seconds == pytest.approx(0.5 + 0.1 * (number % 10), abs=1e-3)
            if name.startswith("synthetic"):
                assert target[DOG].any() == (number > 0)


def _sets(batch: Batch) -> list[str]:
    """The set of each clip, from its name."""
    return [re.sub(r"\d+\.wav", "", name) for name in batch.names]


def test_the_real_set_with_strong_labels_is_a_fourth_part_of_the_batch(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four = "training.train_sets=[strong, unlabelled, weak, synthetic]"
    data = module(prepared, *STRONG, four, "training.batch_size=[2, 2, 3, 2]")
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows[:6] == ["set", "synthetic", "weak", "unlabelled", "strong", "synthetic validation"]
    batches = list(data.train_dataloader())
    assert len(batches) == 2  # 5 strong clips at 2 a batch
    for batch in batches:
        assert batch.kind.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3]
        assert _sets(batch)[7:] == ["strong"] * 2
        for name, target in zip(batch.names[7:], batch.targets[7:], strict=True):
            assert target[DOG].any() == (name != "strong0.wav")
            assert target.sum() == target[DOG].sum()
    # Present but not trained on: neither prepared nor in the draws of the others.
    for folder in ("strong_44k", "strong_16k"):
        shutil.rmtree(prepared / folder)
    for one, other in zip(
        module(prepared, *STRONG).train_dataloader(),
        module(prepared).train_dataloader(),
        strict=True,
    ):
        assert one.names == other.names
        assert torch.equal(one.audio, other.audio)


def _names(data: DesedDataModule, name: str) -> list[list[str]]:
    """Names of the clips of a training set, folder by folder."""
    return [[each.name(k) for k in range(len(each))] for each in data.training.get(name, [])]


def test_a_share_of_the_labels_is_used_and_the_other_clips_are_unlabelled(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, half, few = (
        module(prepared, f"training.labelled_share={share}") for share in (1, 0.5, 0.2)
    )
    assert " the labels of 4 synthetic, 4 weak clips" in capsys.readouterr().out
    assert [len(_names(data, "unlabelled")) for data in (whole, half, few)] == [1, 3, 3]
    for name in ("synthetic", "weak"):
        ((all_names,), (half_names,), (few_names,)) = (
            _names(data, name) for data in (whole, half, few)
        )
        assert set(few_names) < set(half_names) < set(all_names)
        rest = [others for others in _names(half, "unlabelled") if others[0].startswith(name)]
        assert sorted([*rest[0], *half_names]) == sorted(all_names)
    assert len(_names(few, "synthetic")[0]) == 2  # 0.2 of 8
    batches = list(half.train_dataloader())
    assert len(batches) == 2  # 4 of 8 clips, 2 a batch
    for batch in batches:
        assert batch.kind.tolist() == [0, 0, 1, 1, 2, 2, 2]
        assert not batch.targets[4:].any()
    assert half.validation_truth == whole.validation_truth
    assert whole.coverage == half.coverage


def test_clips_without_labels_are_an_unlabelled_set_only_where_it_is_trained_on(
    prepared: Path,
) -> None:
    absent = ["data.unlabeled_folder=null", "data.unlabeled_folder_44k=null"]
    share = "training.labelled_share=0.5"
    data = module(prepared, *absent, share)
    assert [len(names) for names in _names(data, "unlabelled")] == [4, 3]
    assert next(iter(data.train_dataloader())).kind.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert configure(prepared, *absent, share).absent_sets == []
    assert configure(prepared, *absent).absent_sets == ["unlabelled"]
    alone = module(prepared, *absent, share, "training.train_sets=[synthetic]")
    assert list(alone.training) == ["synthetic"]
    assert next(iter(alone.train_dataloader())).kind.tolist() == [0, 0]
    (labelled,) = alone.training["synthetic"]
    assert len(labelled) == 4
    with pytest.raises(InputError, match="labelled_share"):
        configure(prepared, "training.labelled_share=0")


def test_validation_has_the_other_weak_clips_and_the_synthetic_validation_set(
    prepared: Path,
) -> None:
    data = module(prepared)
    batches = [batch for loader in data.val_dataloader() for batch in loader]
    kinds = torch.cat([batch.kind for batch in batches]).tolist()
    names = [name for batch in batches for name in batch.names]
    assert kinds == [ClipKind.WEAK] * 3 + [ClipKind.SYNTHETIC] * 3
    assert names[3:] == [
        "synthetic validation0.wav",
        "synthetic validation1.wav",
        "synthetic validation2.wav",
    ]
    trained = {name for _ in range(3) for batch in data.train_dataloader() for name in batch.names}
    assert not trained & set(names)
    assert [batch.audio.shape[0] for batch in batches] == [3, 3]


def test_test_sets_have_their_ground_truth(prepared: Path) -> None:
    data = module(prepared, stage="test")
    main, second = data.test_sets
    assert (main.name, second.name) == ("test", "eval")
    assert main.truth.events == {
        "test0.wav": [],
        **{f"test{number}.wav": [Event(0.1, 0.4, "Dog")] for number in (1, 2, 3)},
    }
    assert main.truth.durations == read_durations(prepared / "test_dur.tsv")
    assert main.truth.durations["test3.wav"] == pytest.approx(0.8, abs=1e-3)
    assert (main.coverage.expected, main.coverage.missing) == (4, ())
    loaders = data.test_dataloader()
    assert [[name for batch in loader for name in batch.names] for loader in loaders] == [
        [f"test{number}.wav" for number in range(4)],
        [f"eval{number}.wav" for number in range(2)],
    ]


def test_overlapping_events_of_a_class_are_merged_in_the_truth(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        ("synthetic validation0.wav", *event) for event in ((0.3, 0.5, "Dog"), (0.1, 0.4, "Dog"))
    ]
    others = [(f"synthetic validation{number}.wav", 0.1, 0.4, "Cat") for number in (1, 2)]
    columns = ("filename", "onset", "offset", "event_label")
    write_table(tree / "synthetic validation.tsv", columns, [*rows, *others])
    truth = module(tree).validation_truth
    assert truth.events["synthetic validation0.wav"] == [Event(0.1, 0.5, "Dog")]
    assert truth.events["synthetic validation2.wav"] == [Event(0.1, 0.4, "Cat")]
    assert "synthetic validation.tsv: 1 event(s) overlapped another" in caplog.text


def test_a_test_alone_needs_no_training_set(tree: Path) -> None:
    config = configure(tree)
    for name in ("synthetic", "weak", "unlabelled", "synthetic validation"):
        (tree / f"{name}_44k").rename(tree / f"gone_{name}")
    data = DesedDataModule(config, config.grid, tree / "missing.tsv")
    trainer = pl.Trainer(
        default_root_dir=tree / "run",
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recorder = Recorder()
    trainer.test(recorder, datamodule=data)
    assert [(loader, len(names)) for loader, names in recorder.tested] == [(0, 4), (1, 2)]
    assert not (tree / "synthetic_16k").exists()
    with pytest.raises(InputError, match="synthetic_16k"):
        module(tree)


def test_everything_that_is_missing_is_one_error(tree: Path) -> None:
    (tree / "weak.tsv").rename(tree / "weak_tags.tsv")
    (tree / "test.tsv").unlink()
    (tree / "synthetic_44k").rename(tree / "synthetic_44khz")
    for path in (tree / "unlabelled_44k").iterdir():
        path.unlink()
    missing = {"test_folder_44k": "null", "eval_tsv": f"{tree}/nowhere/eval.tsv"}
    with pytest.raises(InputError) as caught:
        module(tree, *(f"data.{key}={value}" for key, value in missing.items()))
    title, *found = [line.strip() for line in str(caught.value).splitlines()]
    assert title == "data (relative paths are below data.root): 6 problems:"
    places = {
        "data.synth_folder_44k": "synthetic_44k (did you mean synthetic_44khz?)",
        "data.weak_tsv": "weak.tsv (did you mean weak_tags.tsv?)",
        "data.unlabeled_folder_44k": "unlabelled_44k",
        "data.test_tsv": "test.tsv",
        "data.test_folder": "test_16k (did you mean test_44k?)",
        "data.eval_tsv": "nowhere/eval.tsv",
    }
    for line, (key, place) in zip(found, places.items(), strict=True):
        assert line.startswith(f"{key}: expected ")
        assert f", got {tree}/{place}" in line
    assert not list(tree.glob("*_16k"))


def test_without_a_second_test_set_there_is_one_loader(prepared: Path) -> None:
    keys = ("eval_folder", "eval_folder_44k", "eval_tsv", "eval_dur")
    nothing = [f"data.{key}=null" for key in keys]
    assert len(module(prepared, *nothing, stage="test").test_dataloader()) == 1


def test_sets_that_are_not_trained_on_need_not_exist(tree: Path) -> None:
    (tree / "unlabelled_44k").rename(tree / "gone")
    data = module(tree, "training.train_sets=[synthetic]")
    batches = list(data.train_dataloader())
    assert len(batches) == 4
    assert all(batch.kind.tolist() == [0, 0] for batch in batches)
    assert len(weak_validation(data)) == 3  # still validated on
    assert "unlabelled" not in data.coverage


def test_coverage_is_reported_and_missing_clips_are_listed(
    tree: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "synthetic_44k" / "synthetic3.wav").unlink()
    (tree / "test_44k" / "test2.wav").unlink()
    write_tone(tree / "weak_44k" / "other.wav", rate=44100)
    data = module(tree)
    lines = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == ["set", "synthetic", "weak", "unlabelled", *list(lines)[4:]]
    assert lines["synthetic"][1:5] == ["8", "7", "1", "0"]
    assert lines["weak"][1:5] == ["10", "10", "0", "1"]
    assert lines["unlabelled"][1:5] == ["11", "11", "0", "0"]
    assert lines["synthetic validation"][2:6] == ["3", "3", "0", "0"]
    assert lines["test"][1:5] == ["4", "3", "1", "0"]
    assert lines["eval"][1:5] == ["2", "2", "0", "0"]
    listed = (tree / "run" / "missing.tsv").read_text().splitlines()
    assert listed == ["set\tfilename", "synthetic\tsynthetic3.wav", "test\ttest2.wav"]
    assert "2 annotated clips have no audio" in caplog.text
    assert "test2.wav" not in data.test_sets[0].truth.events
    data.setup("test")  # nothing new: not reported again
    assert capsys.readouterr().out == ""


def weak_validation(data: DesedDataModule) -> set[str]:
    """Names of the weak clips that are validated on."""
    clips = data.weak_validation
    assert clips is not None
    return {clips.name(index) for index in range(len(clips))}


def test_a_missing_clip_does_not_move_the_weak_split(tree: Path) -> None:
    complete = module(tree)
    kept = weak_validation(complete)
    trained = next(f"weak{number}.wav" for number in range(10) if f"weak{number}.wav" not in kept)
    (tree / "weak_16k" / trained).unlink()
    (tree / "weak_44k" / trained).unlink()
    again = module(tree)
    assert weak_validation(again) == kept


def test_a_weak_set_without_validation_clips_is_an_error(tree: Path) -> None:
    for name in weak_validation(module(tree)):
        for folder in ("weak_16k", "weak_44k"):
            (tree / folder / name).unlink()
    with pytest.raises(InputError, match=r"weak_16k: .*validation"):
        module(tree)


def test_given_durations_are_used_and_must_be_complete_and_right(tree: Path) -> None:
    columns = ("filename", "duration")
    seconds = {f"test{number}.wav": 0.52 + 0.1 * number for number in range(4)}
    write_table(tree / "test_dur.tsv", columns, seconds.items())
    assert module(tree).test_sets[0].truth.durations == seconds
    write_table(tree / "test_dur.tsv", columns, list(seconds.items())[1:])
    with pytest.raises(InputError, match=r"test_dur\.tsv: .*test0\.wav"):
        module(tree)
    write_table(tree / "test_dur.tsv", columns, [(name, 10.0) for name in seconds])
    with pytest.raises(InputError, match=r"test_dur\.tsv: .* and 1 more"):
        module(tree)


def test_a_changed_source_reaches_the_batches(tree: Path) -> None:
    assert module(tree).validation_truth.durations["synthetic validation1.wav"] == pytest.approx(
        0.6
    )
    write_tone(tree / "synthetic validation_44k" / "synthetic validation1.wav", 0.9, 44100)
    (tree / "synthetic validation_44k" / "synthetic validation2.wav").unlink()
    data = module(tree)
    assert data.validation_truth.durations["synthetic validation1.wav"] == pytest.approx(0.9)
    assert data.coverage["synthetic validation"].missing == ("synthetic validation2.wav",)
    (batch,) = data.val_dataloader()[1]
    assert batch.names == ("synthetic validation0.wav", "synthetic validation1.wav")
    assert batch.seconds[1] == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["synthetic", "synthetic validation", "test"])
def test_times_in_milliseconds_are_refused_in_every_set(tree: Path, name: str) -> None:
    columns = ("filename", "onset", "offset", "event_label")
    write_table(tree / f"{name}.tsv", columns, [(f"{name}1.wav", 100, 400, "Dog")])
    message = rf"{name}\.tsv:2: onset: expected less than the clip's 0\.6 s, got 100 \(milli"
    with pytest.raises(InputError, match=message):
        module(tree)


def test_loading_leaves_the_global_random_state_alone(prepared: Path) -> None:
    data = module(prepared)
    before = torch.get_rng_state()
    list(data.train_dataloader())
    for loader in data.val_dataloader():
        list(loader)
    assert torch.equal(torch.get_rng_state(), before)


class Recorder(pl.LightningModule):
    """Records the clips of a test."""

    def __init__(self) -> None:
        super().__init__()
        self.tested: list[tuple[int, tuple[str, ...]]] = []

    def test_step(self, batch: Batch, number: int, dataloader_idx: int = 0) -> None:
        self.tested.append((dataloader_idx, batch.names))


def test_audio_is_float_on_the_device(prepared: Path) -> None:
    data = module(prepared)
    batch = next(iter(data.train_dataloader()))
    given = data.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert given.audio.dtype == torch.float32
    assert torch.equal(given.audio * 2**15, batch.audio.float())


@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize(("file_form", "table_form"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_file_form_and_table_form_in_two_unicode_forms(
    file_form: Form, table_form: Form, is_prepared: bool, original_tree: Path, tmp_path: Path
) -> None:
    """As a data set from a Mac has them; with its originals, and with the prepared audio alone."""
    tree = Path(shutil.copytree(original_tree, tmp_path / "tree"))
    for path in [*tree.glob("*_44k/*.wav")]:
        path.rename(path.with_name(unicodedata.normalize(file_form, f"Bär {path.name}")))
    for path in tree.glob("*.tsv"):
        head, *rows = path.read_text().splitlines()
        text = "\n".join([head, *(f"Bär {row}" for row in rows)]) + "\n"
        path.write_text(unicodedata.normalize(table_form, text))
    if is_prepared:
        config = configure(tree)
        DesedDataModule(config, config.grid, tree / "run" / "missing.tsv").prepare_data()
        for path in [*tree.glob("*_44k"), *tree.glob("*.manifest.json")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    data = module(tree)
    assert all(not each.missing and not each.unannotated for each in data.coverage.values())
    batch = next(iter(data.train_dataloader()))
    assert batch.audio.abs().amax(dim=1).min() > 0
    events = {f"Bär test{number}.wav": [Event(0.1, 0.4, "Dog")] for number in (1, 2, 3)}
    data.setup("test")
    assert data.test_sets[0].truth.events == {"Bär test0.wav": [], **events}
    names = [name for each in data.test_dataloader()[0] for name in each.names]
    assert names == list(data.test_sets[0].truth.events)
