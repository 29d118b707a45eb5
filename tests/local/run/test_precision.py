"""Gradients in mixed precision against those in float32, layer by layer."""

from pathlib import Path

import pytest
import torch

from tests.support.given_batches import PLAIN, given_batch, gradients
from tests.support.tiny import tiny_config

# Largest error of a layer's gradient, relative to its norm.
TOLERANCES = {"bf16-mixed": 0.1, "16-mixed": 0.02}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CASES = [
    pytest.param("cpu", "bf16-mixed"),
    pytest.param("gpu", "bf16-mixed", marks=[pytest.mark.gpu, GPU]),
    pytest.param("gpu", "16-mixed", marks=[pytest.mark.gpu, GPU]),
]


@pytest.mark.parametrize(("accelerator", "precision"), CASES)
def test_gradients(accelerator: str, precision: str, tiny_data: Path) -> None:
    # With clipping, gradients are unscaled before they are kept.
    config = tiny_config(tiny_data, *PLAIN, "training.gradient_clip=1000")
    batch = [given_batch(config)]
    expected = gradients(config, batch, accelerator=accelerator, precision="32-true")
    found = gradients(config, batch, accelerator=accelerator, precision=precision)
    assert found.keys() == expected.keys()
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        if gradient.norm() > 1e-4 * whole:  # smaller ones are rounding errors in float32 too
            error = (found[name].float() - gradient).norm() / gradient.norm()
            assert error < TOLERANCES[precision], f"{name}: {float(error):.3f}"
