"""Which files are of one recording, and the split of recordings: train, validation, test.

Files of one recording, its group, are never in two splits. By default a group is a file's name
without its ending and without a take letter: `1-100032-A.ogg` and `1-100032-B.ogg` are of
`1-100032`. Names are compared without their folders, so that one recording may be in several.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from desed_task.errors import InputError, listing, shortened
from desed_task.tables import Table, normalised

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "eval"), TEST),
}
"""Names of the splits in tables that people have, in lower case."""
SOUNDBANK_SHARES = {VALIDATION: 0.15, TEST: 0.2}
"""Share of the groups of each class in a soundbank; the others are for training."""
_TAKE = re.compile(r"(?<=.)[-_ ][A-Za-z]$")

GroupOf = Callable[[Path], str]


def by_take_letter(path: Path) -> str:
    """The group of a file by its name without a take letter at the end."""
    return _TAKE.sub("", path.stem)


def group_rule(
    group: str | None,
    groups: Path | None,
    default: GroupOf,
    named: Mapping[str, GroupOf] = MappingProxyType({}),
) -> GroupOf:
    """The function that returns the group of a file.

    Args:
        group: of the option `--group`: a key of `named` or a regular expression (`by_pattern`).
        groups: of the option `--groups`, which excludes it: a table (`by_table`).
        default: the function where neither is given.
        named: functions by name.
    """
    if group is not None and groups is not None:
        raise InputError("--group, --groups: expected one of them, got both")
    if groups is not None:
        return by_table(groups)
    if group is None:
        return default
    return named[group] if group in named else by_pattern(group)


def by_pattern(text: str) -> GroupOf:
    """The group of a file: what the expression's first parenthesis, or all of it, matches."""
    expression = _pattern(text, "--group")

    def group_of(path: Path) -> str:
        match = expression.search(path.name)
        found = match and (match[1] if expression.groups else match[0])
        if not found:
            raise InputError(f"{path}: --group: expected a name that matches {text!r}")
        return found

    return group_of


def by_table(table_path: Path) -> GroupOf:
    """The group of a file from a table with the columns filename and group."""
    table = Table(table_path, ("filename", "group"), separators="\t,")
    groups: dict[str, str] = {}
    for line, (filename, group) in table.rows(lambda name: False):
        name = normalised(Path(filename).name)
        if not name or not group:
            table.problem(line, "expected a file name and a group, got an empty field")
        elif groups.setdefault(name, group) != group:
            table.problem(line, f"{name}: expected one group, got {groups[name]} and {group}")
    table.finish()

    def group_of(path: Path) -> str:
        name = normalised(path.name)
        if name not in groups:
            raise InputError(f"{path}: expected a row in {table_path}, got none")
        return groups[name]

    return group_of


def grouped(paths: Iterable[Path], group_of: GroupOf) -> dict[Path, str]:
    """The group of each file. Raises one InputError for all files without a group."""
    groups: dict[Path, str] = {}
    problems: list[str] = []
    for path in paths:
        try:
            groups[path] = group_of(path)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listing("groups of files", problems))
    return groups


def split_labelled(
    kinds: Mapping[str, Iterable[str]],
    shares: Sequence[float],
    seed: int,
    given: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The split of each group, drawn so that every class is in every split if groups suffice.

    Of a class with few groups the last one is for training.

    Args:
        kinds: the groups of each class; of recordings without a class those of the key "".
        shares: of `SPLITS`, of the groups that are drawn; no group is drawn for one of 0.
        seed: of the draw.
        given: splits of groups that are not drawn.
    """
    random = np.random.default_rng(seed)
    pairs = zip(SPLITS[:0:-1], shares[:0:-1], strict=True)
    drawn = {split: share for split, share in pairs if share}
    splits = dict(given)
    for groups in _rare_first(kinds):
        order = [groups[index] for index in random.permutation(len(groups))]
        free = [group for group in order if group not in splits]
        _split_kind(splits, groups, free, drawn, train_first=True, given=given)
    return splits


def split_soundbank(
    kinds: Mapping[str, Iterable[str]], seed: int, test_groups: str | None = None
) -> dict[str, str]:
    """The split of each group, drawn so that every kind of sound has groups in every split.

    Args:
        kinds: the groups of each class, and of the backgrounds.
        seed: of the draw.
        test_groups: a regular expression of the groups that are the test; None: they are drawn.

    Raises InputError for a kind with too few groups.
    """
    random = np.random.default_rng([seed, 0x5011D])
    splits = {} if test_groups is None else _given_test(kinds, test_groups)
    drawn = {
        split: share for split, share in SOUNDBANK_SHARES.items() if split not in splits.values()
    }
    fixed = frozenset(splits)
    for every in _rare_first(kinds):
        groups = [group for group in every if group not in fixed]
        free = [group for group in groups if group not in splits]
        free = [free[index] for index in random.permutation(len(free))]
        _split_kind(splits, groups, free, drawn)
    problems = [
        f"{kind}: expected recordings in each of {', '.join(SPLITS)}, got "
        f"{len(set(groups))} recording{'s' * (len(set(groups)) != 1)}, none for {split}"
        for kind, groups in kinds.items()
        for split in SPLITS
        if split not in {splits[group] for group in groups}
    ]
    if problems:
        raise InputError(
            listing("--soundbank", problems)
            + "\n  (--group and --groups define which files are of one recording)"
        )
    return splits


def _given_test(kinds: Mapping[str, Iterable[str]], text: str) -> dict[str, str]:
    """The test's groups by a regular expression."""
    every = sorted({group for groups in kinds.values() for group in groups})
    expression = _pattern(text, "--test_groups")
    splits = {group: TEST for group in every if expression.search(group)}
    if not splits:
        raise InputError(
            f"--test_groups: expected an expression that matches some of {shortened(every)}, "
            f"got {text!r}"
        )
    return splits


def _rare_first(kinds: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of each kind, sorted; the kinds with few groups first."""
    groups = {kind: sorted(set(found)) for kind, found in kinds.items()}
    return [groups[kind] for kind in sorted(groups, key=lambda kind: (len(groups[kind]), kind))]


def _split_kind(
    splits: dict[str, str],
    groups: Sequence[str],
    free: list[str],
    shares: Mapping[str, float],
    *,
    train_first: bool = False,
    given: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Assign the groups of a kind that have no split yet, with regard to those that have one.

    Args:
        splits: of the groups that have one; the others are added.
        groups: all of the kind.
        free: those without a split, in random order.
        shares: of validation and test; the others are for training.
        train_first: whether training has a group before validation and test have one.
        given: splits that were not drawn; the shares are of the other groups.
    """
    others = [group for group in groups if group not in given]
    for split, share in shares.items():
        wanted = round(share * len(others))
        if split not in {given.get(group) for group in groups}:
            wanted = max(1, wanted)
        wanted -= sum(splits.get(group) == split for group in others)
        reserved = train_first and TRAIN not in {splits.get(group) for group in groups}
        for _ in range(min(wanted, len(free) - reserved)):
            splits[free.pop()] = split
    splits.update(dict.fromkeys(free, TRAIN))


def _pattern(text: str, option: str) -> re.Pattern[str]:
    """A compiled regular expression. Raises InputError that names the option."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(
            f"{option}: expected a regular expression, got {text!r}: {error}"
        ) from None
