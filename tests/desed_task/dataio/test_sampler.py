import hashlib
import itertools
from collections import Counter

import pytest

from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.errors import InputError

SIZES = {"synthetic": 30, "weak": 14, "unlabelled": 40}
SHARES = {"synthetic": 3, "weak": 2, "unlabelled": 4}
SPANS = {"synthetic": range(30), "weak": range(30, 44), "unlabelled": range(44, 84)}


def indices(sampler: MixtureBatchSampler) -> list[list[int]]:
    return [[request.index for request in batch] for batch in sampler]


def test_an_epoch_of_desed_has_236_steps() -> None:
    sizes = {"synthetic": 10000, "weak": 1420, "unlabelled": 14412}
    sampler = MixtureBatchSampler(sizes, {"synthetic": 6, "weak": 6, "unlabelled": 12}, seed=2021)
    assert len(sampler) == 236
    batches = indices(sampler)
    assert len(batches) == 236
    for batch in batches:
        assert len(batch) == 24
        assert all(index < 10000 for index in batch[:6])
        assert all(10000 <= index < 11420 for index in batch[6:12])
        assert all(11420 <= index < 25832 for index in batch[12:])


def test_no_clip_comes_twice_in_an_epoch_and_the_smallest_set_is_used_up() -> None:
    sampler = MixtureBatchSampler(SIZES, SHARES, seed=0)
    assert len(sampler) == 7
    drawn = Counter(itertools.chain.from_iterable(indices(sampler)))
    assert set(drawn.values()) == {1}
    assert {index for index in drawn if index in SPANS["weak"]} == set(SPANS["weak"])
    assert len(drawn) == 7 * 9


def test_every_epoch_draws_from_all_clips_of_the_larger_sets() -> None:
    sampler = MixtureBatchSampler(SIZES, SHARES, seed=0)
    epochs = []
    for epoch in range(30):
        sampler.set_epoch(epoch)
        epochs.append(indices(sampler))
    assert len({str(batches) for batches in epochs}) == 30
    seen = set(itertools.chain.from_iterable(itertools.chain.from_iterable(epochs)))
    assert seen == set(range(84))


def test_the_sets_are_shuffled_independently() -> None:
    sampler = MixtureBatchSampler({"a": 50, "b": 50}, {"a": 1, "b": 1}, seed=0)
    assert sum(second - 50 == first for first, second in indices(sampler)) < 10


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    sampler = MixtureBatchSampler(SIZES, SHARES, seed=5)
    sampler.set_epoch(3)
    third = list(sampler)
    assert third == list(sampler)
    assert third == list(MixtureBatchSampler(SIZES, SHARES, seed=5, epoch=3))
    assert indices(MixtureBatchSampler(SIZES, SHARES, seed=6, epoch=3)) != indices(sampler)
    # Neighbouring seeds and epochs must not be one another's.
    assert indices(MixtureBatchSampler(SIZES, SHARES, seed=6, epoch=2)) != indices(sampler)


@pytest.mark.parametrize(("epoch", "digest"), [(0, "9cbde53b91c3fb1a"), (3, "c0e0b6f76c749930")])
def test_the_batches_of_a_seed_do_not_change_between_versions(epoch: int, digest: str) -> None:
    sampler = MixtureBatchSampler(SIZES, SHARES, seed=5, epoch=epoch)
    drawn = str([[(request.index, request.seed) for request in batch] for batch in sampler])
    assert hashlib.sha256(drawn.encode()).hexdigest().startswith(digest)


def test_a_given_number_of_batches_uses_up_every_set_before_a_clip_comes_again() -> None:
    sizes = {"small": 3, "medium": 7, "large": 50}
    sampler = MixtureBatchSampler(sizes, {"small": 4, "medium": 2, "large": 2}, seed=0, batches=5)
    assert len(sampler) == 5
    batches: list[list[int]] = []
    for epoch in range(10):
        sampler.set_epoch(epoch)
        batches += indices(sampler)
    assert len(batches) == 50
    for columns, first, size in ((slice(4), 0, 3), (slice(4, 6), 3, 7), (slice(6, 8), 10, 50)):
        drawn = [index for batch in batches for index in batch[columns]]
        rounds = [drawn[begin : begin + size] for begin in range(0, len(drawn) - size + 1, size)]
        assert len(rounds) == len(drawn) // size >= 2
        assert all(sorted(each) == list(range(first, first + size)) for each in rounds)
        assert len({tuple(each) for each in rounds}) > 1


@pytest.mark.parametrize("batches", [None, 5])
@pytest.mark.parametrize(("rank", "ranks"), [(0, 1), (1, 2)])
def test_an_epoch_continues_at_its_next_batch(rank: int, ranks: int, batches: int | None) -> None:
    sampler = MixtureBatchSampler(
        SIZES, SHARES, seed=5, epoch=3, batches=batches, rank=rank, ranks=ranks
    )
    whole = list(sampler)
    sampler.set_epoch(3, first_batch=2)
    assert list(sampler) == whole[2:]
    sampler.set_epoch(4)
    assert len(list(sampler)) == len(whole)


def test_each_draw_has_its_own_seed() -> None:
    sampler = MixtureBatchSampler(SIZES, SHARES, seed=0)
    seeds = [request.seed for batch in sampler for request in batch]
    sampler.set_epoch(1)
    seeds += [request.seed for batch in sampler for request in batch]
    assert len(set(seeds)) == len(seeds) == 2 * 63
    assert min(seeds) >= 0


def test_a_batch_size_of_zero_excludes_a_set() -> None:
    sampler = MixtureBatchSampler(
        {"synthetic": 9, "weak": 0, "unlabelled": 5},
        {"synthetic": 3, "weak": 0, "unlabelled": 1},
        seed=0,
    )
    batches = indices(sampler)
    assert len(batches) == len(sampler) == 3
    assert all(max(batch[:3]) < 9 <= batch[3] < 14 for batch in batches)


@pytest.mark.parametrize("shares", [{"a": 1}, {"a": 0, "b": 0}, {"a": -1, "b": 2}])
def test_impossible_batch_sizes_are_refused(shares: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="batch_sizes: expected counts for"):
        MixtureBatchSampler({"a": 5, "b": 5}, shares, seed=0)


@pytest.mark.parametrize("batches", [None, 9])
@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_share_the_epoch_of_one_with_larger_batches(
    ranks: int, batches: int | None
) -> None:
    shares = {name: ranks * share for name, share in SHARES.items()}
    whole = MixtureBatchSampler(SIZES, shares, seed=4, epoch=2, batches=batches)
    parts = [
        list(
            MixtureBatchSampler(
                SIZES, SHARES, seed=4, epoch=2, batches=batches, rank=rank, ranks=ranks
            )
        )
        for rank in range(ranks)
    ]
    assert [len(part) for part in parts] == [len(whole)] * ranks
    assert len(whole) == (batches or 14 // (2 * ranks))
    for step, *rank_batches in zip(whole, *parts, strict=True):
        together = [request for batch in rank_batches for request in batch]
        assert set(together) == set(step)  # with the seeds of their draws
        assert len(set(together)) == len(together) == 9 * ranks
        for batch in rank_batches:
            kinds = [next(n for n, span in SPANS.items() if r.index in span) for r in batch]
            assert kinds == ["synthetic"] * 3 + ["weak"] * 2 + ["unlabelled"] * 4


def test_a_set_smaller_than_its_batch_is_an_error() -> None:
    with pytest.raises(InputError, match=r"^weak set: expected at least the 2 clips"):
        MixtureBatchSampler(SIZES | {"weak": 1}, SHARES, seed=0)
    message = "weak set: expected at least the 16 clips of one batch of 8 processes, .* got 14"
    with pytest.raises(InputError, match=message):
        MixtureBatchSampler({**SIZES, "synthetic": 99, "unlabelled": 99}, SHARES, 0, ranks=8)
    with pytest.raises(InputError, match="weak set: expected at least 1 clip, got 0"):
        MixtureBatchSampler(SIZES | {"weak": 0}, SHARES, seed=0, batches=5)
    with pytest.raises(ValueError, match="rank: expected 0 to 1, got 2"):
        MixtureBatchSampler(SIZES, SHARES, seed=0, rank=2, ranks=2)
