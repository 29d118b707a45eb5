"""Groups of files and their splits: no group in two splits, every class in every split."""

from pathlib import Path

import numpy as np
import pytest

from desed_task.making.grouping import (
    SPLITS,
    TEST,
    TRAIN,
    by_take_letter,
    split_labelled,
    split_soundbank,
)


def test_splits_keep_groups_and_serve_every_class() -> None:
    shared = ["a", "b", "c"]
    kinds = {"One": [*shared, "d", "d"], "Two": [*shared, *(f"g{n}" for n in range(37))]}
    for seed in range(20):
        splits = split_soundbank(kinds, seed)
        for groups in kinds.values():
            assert {splits[group] for group in groups} == set(SPLITS)
        share = np.mean([splits[group] == TEST for group in kinds["Two"]])
        assert 0.1 < share < 0.3
    assert split_soundbank(kinds, 3) == split_soundbank(kinds, 3)
    assert len({tuple(split_soundbank(kinds, seed).items()) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("1-100032-A.ogg", "1-100032"),
        ("dog_b.wav", "dog"),
        ("dog_12.wav", "dog_12"),
        ("a.wav", "a"),
    ],
)
def test_a_take_letter_is_no_part_of_the_group(name: str, group: str) -> None:
    assert by_take_letter(Path(name)) == group


def test_the_last_group_of_a_rare_class_is_trained_on() -> None:
    kinds = {"rare": ["r"], "two": ["a", "b"], "": [f"n{n}" for n in range(20)]}
    for seed in range(10):
        splits = split_labelled(kinds, (0.6, 0.2, 0.2), seed)
        assert splits["r"] == TRAIN
        assert sorted(splits[group] for group in kinds["two"]) == [TEST, TRAIN]
        assert [sum(splits[group] == split for group in kinds[""]) for split in SPLITS] == [
            12,
            4,
            4,
        ]
