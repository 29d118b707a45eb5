"""Which files are of one recording, and the split of recordings: train, validation, test.

Files of one recording, its group, are never in two splits. By default a group is a file's name
without its ending and without a take letter: `1-100032-A.ogg` and `1-100032-B.ogg` are of
`1-100032`. Names are compared without their folders, so that one recording may be in several.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from desed_task.errors import InputError, listing, shortened
from desed_task.tables import Table, normalised

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
SHARES = {VALIDATION: 0.15, TEST: 0.2}
"""Share of each class's groups; the others are for training."""
_TAKE = re.compile(r"(?<=.)[-_ ][A-Za-z]$")

GroupOf = Callable[[Path], str]


def by_take_letter(path: Path) -> str:
    """The group of a file by its name without a take letter at the end."""
    return _TAKE.sub("", path.stem)


def pattern(text: str, option: str) -> re.Pattern[str]:
    """A compiled regular expression. Raises InputError that names the option."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(
            f"{option}: expected a regular expression, got {text!r}: {error}"
        ) from None


def by_pattern(text: str) -> GroupOf:
    """The group of a file: what the expression's first parenthesis, or all of it, matches."""
    expression = pattern(text, "--group")

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


def split_groups(
    kinds: Mapping[str, Sequence[str]], seed: int, test_groups: str | None = None
) -> dict[str, str]:
    """The split of each group, drawn so that every kind of sound has groups in every split.

    Args:
        kinds: the groups of each class, and of the backgrounds.
        seed: of the draw.
        test_groups: a regular expression of the groups that are the test; None: they are drawn.

    Raises InputError for a kind with too few groups.
    """
    rng = np.random.default_rng([seed, 0x5011D])
    splits: dict[str, str] = {}
    every = sorted({group for groups in kinds.values() for group in groups})
    if test_groups is not None:
        expression = pattern(test_groups, "--test_groups")
        splits = {group: TEST for group in every if expression.search(group)}
        if not splits:
            raise InputError(
                f"--test_groups: expected an expression that matches some of "
                f"{shortened(every)}, got {test_groups!r}"
            )
    drawn = SHARES if test_groups is None else {VALIDATION: SHARES[VALIDATION]}
    fixed = frozenset(splits)
    for kind in sorted(kinds, key=lambda each: (len(set(kinds[each])), each)):
        own = sorted(set(kinds[kind]))
        _split_kind(rng, [group for group in own if group not in fixed], drawn, splits)
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
            + "\n  (--group and --groups tell which files are of one recording)"
        )
    return splits


def _split_kind(
    rng: np.random.Generator,
    groups: Sequence[str],
    shares: Mapping[str, float],
    splits: dict[str, str],
) -> None:
    """Draw the split of the groups that have none yet, with regard to those that have one."""
    free = [group for group in groups if group not in splits]
    free = [free[index] for index in rng.permutation(len(free))]
    for split, share in shares.items():
        wanted = max(1, round(share * len(groups)))
        for _ in range(wanted - sum(splits.get(group) == split for group in groups)):
            if free:
                splits[free.pop()] = split
    splits.update(dict.fromkeys(free, TRAIN))
