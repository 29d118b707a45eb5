"""The recordings of a data set's clips, for the report of a test."""

from pathlib import Path

import pytest

from local.results.recordings import clip_recordings


def test_a_table_of_another_program_does_not_end_a_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert clip_recordings(tmp_path) is None
    table = tmp_path / "metadata" / "clips.tsv"
    table.parent.mkdir()
    table.write_text("filename\trecording\na.wav\tnight.flac\n")
    assert clip_recordings(tmp_path) == {"a.wav": "night.flac"}
    assert not caplog.records
    table.write_text("name\tlength\na.wav\t10\n")
    assert clip_recordings(tmp_path) is None
    assert str(table) in caplog.text
