"""The variants of an ablation, from a YAML file such as confs/ablation_variants.yaml."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, model_validator

from desed_task.errors import InputError
from desed_task.settings import NonEmpty, Settings, Values
from local.config.yaml_files import SHIPPED, RawConfig, checked, read_composed
from local.studies.runs import Experiment, Run

VARIANTS_FILE = SHIPPED / "ablation_variants.yaml"
NAMING = ("test_of", "trained_as", "cpu_time_of", "reference")  # keys that name another variant
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Variant(Settings):
    """One variant: the experiment with some keys changed.

    Args:
        title: its name in the tables.
        set: overrides `section.key=value`, as of `train_sed.py --set`.
        test_of: another variant whose trainings this one tests with its overrides; it trains
            nothing itself.
        trained_as: another variant whose overrides come before its own.
        cpu_time_of: a variant; `training.steps_per_epoch` is changed so that a training takes the
            CPU time of that one. Known once `trained_as` and that one are trained with the first
            seed; needs `trained_as`.
        reference: the variant, or several, with which it is compared; None: that of the file.
    """

    title: str = Field(min_length=1)
    set: Values[str] = ()
    test_of: str | None = None
    trained_as: str | None = None
    cpu_time_of: str | None = None
    reference: str | NonEmpty[str] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Variant":
        self._require(
            self.cpu_time_of is None or self.trained_as is not None,
            "cpu_time_of",
            "trained_as as well",
            "trained_as",
        )
        self._require(
            self.test_of is None or self.trained_as is None,
            "test_of",
            "no trained_as beside it",
            "trained_as",
        )
        return self

    @property
    def needed(self) -> list[tuple[str, str]]:
        """The variants that it names, each with the key."""
        return [(key, name) for key in NAMING for name in _listed(getattr(self, key))]


class Ablation(Settings):
    """A file of variants.

    Args:
        reference: the variant with which those are compared that name no other.
        common: overrides of all variants, before their own.
        variants: by name, in the order of the tables.
    """

    reference: str
    common: Values[str] = ()
    variants: dict[str, Variant]

    def overrides(self, name: str) -> list[str]:
        """All overrides of a variant, those of the variant that it tests included."""
        variant = self.variants[name]
        base = variant.test_of or variant.trained_as
        before = self.common if base is None else self.overrides(base)
        return [*before, *variant.set]

    def references(self, name: str) -> tuple[str, ...]:
        """The variants with which a variant is compared."""
        return _listed(self.variants[name].reference) or (self.reference,)

    def chosen(self, names: Sequence[str]) -> "Ablation":
        """Only these variants, the reference, and those that they need.

        Raises InputError for an unknown name.
        """
        unknown = [name for name in names if name not in self.variants]
        if unknown:
            raise InputError(
                f"--variants: expected some of {', '.join(self.variants)}; got {unknown[0]!r}"
            )
        chosen = {self.reference, *names}
        while more := {v for n in chosen for _, v in self.variants[n].needed} - chosen:
            chosen |= more
        variants = {name: each for name, each in self.variants.items() if name in chosen}
        return self.model_copy(update={"variants": variants})

    def plan(self, experiment: Experiment, seeds: Sequence[int]) -> list[Run]:
        """All runs, seed after seed, so that an interrupted ablation has whole seeds.

        A run that only tests follows the one that trains for it. Variants with the CPU time of
        another are planned when that is known.
        Raises InputError for overrides that the configuration refuses.
        """
        runs: list[Run] = []
        first: dict[str, Run] = {}
        for seed in seeds:
            by_variant: dict[str, Run] = {}
            for name in sorted(self.variants, key=self._position):
                variant = self.variants[name]
                overrides = self.overrides(name)
                if variant.cpu_time_of is not None:
                    steps = self._steps(variant, first or by_variant)
                    if steps is None:
                        continue
                    overrides.append(f"training.steps_per_epoch={steps}")
                trained_by = None if variant.test_of is None else by_variant[variant.test_of]
                by_variant[name] = experiment.run(name, seed, overrides, trained_by)
            first = first or by_variant
            runs += by_variant.values()
        return runs

    def _position(self, name: str) -> tuple[bool, int, bool]:
        """Position of a run: last if it needs times; one that only tests follows its training."""
        variant = self.variants[name]
        index = list(self.variants).index(variant.test_of or name)
        return variant.cpu_time_of is not None, index, variant.test_of is not None

    def _steps(self, variant: Variant, trained: Mapping[str, Run]) -> int | None:
        """Steps per epoch of a variant with the CPU time of another; None: not known yet."""
        assert variant.trained_as is not None  # checked
        assert variant.cpu_time_of is not None
        base, other = trained[variant.trained_as], trained[variant.cpu_time_of]
        steps = base.config.training.steps_per_epoch
        if steps is None:
            raise InputError(
                f"{base.name}: training.steps_per_epoch: expected a number, as a variant with "
                "cpu_time_of changes it, got null"
            )
        if base.result is None or other.result is None:
            return None
        return max(1, round(steps * other.training_seconds / base.training_seconds))


def read_variants(path: Path) -> Ablation:
    """Read a file of variants; `extends: ablation_variants.yaml` adds to the shipped ones.

    Raises InputError with every problem, each with its file and line.
    """
    raw = read_composed(path)
    ablation = checked(Ablation, raw)
    _check_names(ablation, raw)
    return ablation


def _listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()


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
        for own_key, needed in variant.needed:
            other = ablation.variants.get(needed)
            trained = other is not None and other.test_of is None and other.cpu_time_of is None
            if not (trained or (other is not None and own_key == "reference")):
                raise InputError(
                    f"{raw.place((*key, own_key))}: variants.{name}.{own_key}: expected a variant "
                    f"that is trained, one of {names}; got {needed!r}"
                )
