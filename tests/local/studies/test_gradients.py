"""Shares of the loss terms in the gradient."""

from pathlib import Path

import pytest
import torch

from desed_task.errors import InputError
from local.sed_trainer import CrossTaskSED
from local.studies.gradients import main
from local.studies.term_gradients import gradient, measure, table
from tests.support.given_batches import PLAIN, given_batch
from tests.support.tiny import tiny_config


@pytest.fixture
def module(tiny_data: Path) -> CrossTaskSED:
    torch.manual_seed(0)
    return CrossTaskSED(tiny_config(tiny_data, *PLAIN))


def test_terms_add_up_to_the_gradient_of_the_loss(module: CrossTaskSED) -> None:
    student, teacher, distorted = module.predict_distorted(given_batch(module.config))
    terms = module.objective.terms(student, teacher, distorted)
    network = module.networks["student"]
    whole = gradient(module.objective.total(terms, 2.0), network)
    parts = [gradient(module.objective.total({n: t}, 2.0), network) for n, t in terms.items()]
    assert len(parts) > 5
    for name, expected in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), expected)


def test_shares_are_of_all_terms_and_cosines_of_the_others(module: CrossTaskSED) -> None:
    found = measure(module, given_batch(module.config))
    for part in ("all", "backbone"):
        assert sum(term[f"share, {part}"] for term in found.values()) == pytest.approx(1)
        assert all(-1 <= term[f"cosine, {part}"] <= 1 for term in found.values())
    lines = table([found, found]).splitlines()
    assert len(lines) == 1 + len(found)
    assert f"{found['sod']['share, all']:.4f}" in next(x for x in lines if x.startswith("sod "))


def test_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match="--steps: expected at least 1, got 0"):
        main(["--checkpoint", "x.ckpt", "--steps", "0"])
