"""The command for owners of DESED, on a small tree under real file names; training is replaced."""

import os
from pathlib import Path

import pytest
import yaml

from desed_task.errors import FAULT, InputError
from local.studies.driver import LOG
from local.studies.find import find_sets
from local.studies.reproduce import main
from tests.support.audio_files import write_tone
from tests.support.stub_training import STUB
from tests.support.tiny import SMALL

CLIPS = 20
SETS = {  # title -> audio, table
    "weak": ("audio/train/weak", "metadata/train/weak.tsv"),
    "unlabelled": ("audio/train/unlabel_in_domain", "metadata/train/unlabel_in_domain.tsv"),
    "real validation": ("audio/validation/validation", "metadata/validation/validation.tsv"),
    "real with strong labels": (
        "audio/train/strong_label_real",
        "metadata/train/audioset_strong.tsv",
    ),
    "public evaluation": ("audio/eval/public", "metadata/eval/public.tsv"),
    "synthetic": (
        "audio/train/synthetic21_train/soundscapes",
        "metadata/train/synthetic21_train/soundscapes.tsv",
    ),
    "synthetic validation": (
        "audio/validation/synthetic21_validation/soundscapes",
        "metadata/validation/synthetic21_validation/soundscapes.tsv",
    ),
}


@pytest.fixture(scope="module")
def tree(desed_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty clips of each set, every tenth missing, two folders below the data folder."""
    data = tmp_path_factory.mktemp("data")
    wav = write_tone(data / "one.wav", 10.0)  # events of real tables end within it
    for name, (audio, table) in SETS.items():
        metadata = desed_tables / Path(table).name
        if metadata.is_file():
            lines = metadata.read_text(encoding="utf-8").splitlines()
        elif name == "unlabelled":
            lines = ["filename", *(f"Y--{number}_30.000_40.000.wav" for number in range(CLIPS))]
        else:
            events = [f"{number}.wav\t0\t1\tSpeech" for number in range(CLIPS)]
            lines = ["filename\tonset\toffset\tevent_label", *events]
        names = list(dict.fromkeys(line.split("\t")[0] for line in lines[1:]))[:CLIPS]
        kept = [line for line in lines[1:] if line.split("\t")[0] in names]
        root = data / "some" / "dataset"
        (root / table).parent.mkdir(parents=True, exist_ok=True)
        (root / table).write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
        (root / audio).mkdir(parents=True)
        for number, clip in enumerate(names):
            if number % 10:
                os.link(wav, root / audio / clip)
        assert len(names) == CLIPS, name
    return data


def _run(tree: Path, output: Path, *more: str) -> int:
    return main(["--data", str(tree), "--output", str(output), *more], STUB)


def _trained(output: Path) -> set[str]:
    """Runs with output, without the digests of their names."""
    logs = (output / "runs").rglob(LOG)
    return {log.parent.name.partition("-")[0] for log in logs}


def test_sets_are_found_with_their_missing_clips(tree: Path) -> None:
    found = {each.clip_set.title: each for each in find_sets(tree)}
    assert found.keys() == SETS.keys()
    for name, (audio, _) in SETS.items():
        each = found[name]
        assert each.original == tree / "some" / "dataset" / audio
        assert (each.listed, each.n_missing, len(each.missing)) == (CLIPS, 2, 2)
        assert each.usable


def test_check_only(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tree, tmp_path, "--check_only") == 0
    assert not (tmp_path / "runs").exists()
    printed = capsys.readouterr().out
    assert "weak: 2 of 20 clips (10.0%) are missing" in printed
    assert "about 0.32 bootstrap standard deviations" in printed  # sqrt(0.1)
    assert len((tmp_path / "missing.tsv").read_text().splitlines()) == 1 + 2 * len(SETS)
    data = yaml.safe_load((tmp_path / "reproduction.yaml").read_text())["data"]
    assert data["root"] == str(tree)
    assert data["eval_folder_44k"] == "some/dataset/audio/eval/public"
    assert data["test_folder"] == "some/dataset/audio/validation/validation_16k"


def test_seeds_are_compared_with_the_authors(tree: Path, tmp_path: Path) -> None:
    assert _run(tree, tmp_path, "--seeds", "2", "--set", "opt.lr=0.5") == FAULT
    text = (tmp_path / "reproduction.md").read_text()
    assert "**Failed: seed 2021, seed 2022.**" in text
    assert "with `opt.lr=0.5`" in text
    assert _run(tree, tmp_path, "--seeds", "3", "--gpus", "0") == 0
    assert _trained(tmp_path) == {"seed_2021", "seed_2022", "seed_2023"}
    text = (tmp_path / "reproduction.md").read_text()
    row = "| real validation | student | PSDS1 (exact) | 0.458 | 0.410 | 0.400 to 0.420 | "
    assert row + "0.310 to 0.510 | yes |" in text
    assert "the teacher is averaged before the step's update" in text


def test_variants_with_an_encoder(tree: Path, tmp_path: Path) -> None:
    conf = tmp_path / "mine.yaml"
    conf.write_text("extends: sed.yaml\n")
    given = ("--encoder", str(conf), "--seeds", "1")
    with pytest.raises(InputError, match=r"--encoder .*mine.yaml: expected .* an encoder"):
        _run(tree, tmp_path / "out", *given, "--check_only")
    conf.write_text(
        "extends: sed.yaml\nencoder: {source: a.pt2, sample_rate: 16000, frame_seconds: 0.1, "
        "dimension: 4}\n"
    )
    with pytest.raises(InputError, match=r"validation_durations\.tsv"):  # a training writes it
        _run(tree, tmp_path / "out", *given, "--set", "opt.lr=0.1")
    logs = {path.parents[1].name: path for path in (tmp_path / "out" / "runs").rglob(LOG)}
    assert len(logs) == 9
    for name, log in logs.items():
        command = log.read_text()
        assert ("encoder=null" in command) == (not name.startswith("encoder_"))
        assert "--set opt.lr=0.1" in command
    values = yaml.safe_load((tmp_path / "out" / "reproduction.yaml").read_text())
    assert values["extends"] == str(conf)
    assert values["data"]["root"] == str(tree)


def test_a_real_training_and_a_test_of_its_checkpoint(tree: Path, tmp_path: Path) -> None:
    one_step = (
        "training.n_epochs=1",
        "training.batch_size=[8, 8, 8]",
        "training.batch_size_val=20",
        "training.picture_interval=0",
        "postprocess.report=false",
    )
    small = [f"--set={text}" for text in (*SMALL, *one_step)]
    given = ["--data", str(tree), "--gpus", "0", *small]
    assert main([*given, "--output", str(tmp_path / "a"), "--seeds", "1"]) == 0
    (best,) = tmp_path.glob("a/runs/recipe/seed_2021-*/version_0/checkpoints/best.ckpt")
    tested = [*given, "--output", str(tmp_path / "b"), "--checkpoint", str(best)]
    assert main(tested) == 0
    texts = [(tmp_path / name / "reproduction.md").read_text("utf-8") for name in ("a", "b")]
    rows = [[line for line in text.split("\n") if " (exact) | " in line] for text in texts]
    assert len(rows[0]) == 8  # two sets, two networks, two metrics
    assert rows[0] == rows[1]
    assert "not computed" not in texts[0]
    assert str(tree) not in texts[0].partition("## Data")[2]
    assert "Runs: seed 2021. Versions: desed_task " in texts[0]
    assert "Runs: checkpoint. Versions: desed_task " in texts[1]
    assert "with `feats.n_mels=16 " in texts[0]
    assert "](docs/" not in texts[0]


def test_a_needed_set_is_missing(tree: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    write_tone(part / "audio" / "train" / "weak" / "a.wav", 0.1)
    with pytest.raises(InputError, match="no usable synthetic, weak, unlabelled"):
        _run(part, tmp_path / "out", "--check-only")
    with pytest.raises(InputError, match="expected DESED"):
        find_sets(tmp_path / "out")
