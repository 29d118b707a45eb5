"""The variants of an ablation, from a YAML file such as confs/ablation_variants.yaml."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from desed_task.errors import InputError
from desed_task.settings import Settings, Values
from local.config.yaml_files import SHIPPED, RawConfig, checked, read_composed
from local.studies.runs import Experiment, Run

VARIANTS_FILE = SHIPPED / "ablation_variants.yaml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Variant(Settings):
    """One variant: the experiment with some keys changed.

    Args:
        title: its name in the tables.
        set: overrides `section.key=value`, as of `train_sed.py --set`.
        test_of: another variant whose trainings this one tests with its overrides; it trains
            nothing itself.
    """

    title: str = Field(min_length=1)
    set: Values[str] = ()
    test_of: str | None = None


class Ablation(Settings):
    """A file of variants.

    Args:
        reference: the variant with which all others are compared.
        common: overrides of all variants, before their own.
        variants: by name, in the order of the tables.
    """

    reference: str
    common: Values[str] = ()
    variants: dict[str, Variant]

    def overrides(self, name: str) -> list[str]:
        """All overrides of a variant, those of the variant that it tests included."""
        variant = self.variants[name]
        before = self.common if variant.test_of is None else self.overrides(variant.test_of)
        return [*before, *variant.set]

    def chosen(self, names: Sequence[str]) -> "Ablation":
        """Only these variants, the reference, and those whose trainings they test.

        Raises InputError for an unknown name.
        """
        unknown = [name for name in names if name not in self.variants]
        if unknown:
            raise InputError(
                f"--variants: expected some of {', '.join(self.variants)}; got {unknown[0]!r}"
            )
        chosen = {self.reference, *names}
        chosen |= {test_of for name in chosen if (test_of := self.variants[name].test_of)}
        variants = {name: each for name, each in self.variants.items() if name in chosen}
        return self.model_copy(update={"variants": variants})

    def plan(self, experiment: Experiment, seeds: Sequence[int]) -> list[Run]:
        """All runs, seed after seed, so that an interrupted ablation has whole seeds.

        A run that only tests follows the one that trains for it.
        Raises InputError for overrides that the configuration refuses.
        """
        runs: list[Run] = []
        for seed in seeds:
            by_variant: dict[str, Run] = {}
            for name in sorted(self.variants, key=self._position):
                test_of = self.variants[name].test_of
                trained_by = None if test_of is None else by_variant[test_of]
                by_variant[name] = experiment.run(name, seed, self.overrides(name), trained_by)
            runs += by_variant.values()
        return runs

    def _position(self, name: str) -> tuple[int, bool]:
        """Position among the trained variants; one that only tests follows the trained one."""
        test_of = self.variants[name].test_of
        return list(self.variants).index(test_of or name), test_of is not None


def read_variants(path: Path) -> Ablation:
    """Read a file of variants; `extends: ablation_variants.yaml` adds to the shipped ones.

    Raises InputError with every problem, each with its file and line.
    """
    raw = read_composed(path)
    ablation = checked(Ablation, raw)
    _check_names(ablation, raw)
    return ablation


def _check_names(ablation: Ablation, raw: RawConfig) -> None:
    """Raise InputError for a name that is no folder name, or that no variant has."""
    names = ", ".join(ablation.variants)
    if ablation.reference not in ablation.variants:
        place = raw.place(("reference",))
        raise InputError(f"{place}: reference: expected one of {names}; got {ablation.reference!r}")
    for name, variant in ablation.variants.items():
        key = ("variants", name)
        if not NAME.fullmatch(name):
            raise InputError(
                f"{raw.place(key)}: variants: expected names of letters, digits, _ and -, "
                f"got {name!r}"
            )
        trained = variant.test_of is None or (
            variant.test_of in ablation.variants
            and ablation.variants[variant.test_of].test_of is None
        )
        if not trained:
            raise InputError(
                f"{raw.place((*key, 'test_of'))}: variants.{name}.test_of: expected a variant "
                f"that is trained, one of {names}; got {variant.test_of!r}"
            )
