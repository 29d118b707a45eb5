"""A new training from trained weights, and parts of the network that are not trained."""

from pathlib import Path

import pytest
import torch

from desed_task.ema import MeanTeacher
from desed_task.errors import InputError
from local.config.load import load_config
from local.run.weights import start_from
from local.sed_trainer import CrossTaskSED
from tests.golden import weights as golden
from tests.support.given_batches import PLAIN, given_batch
from tests.support.paths import CONFS
from tests.support.tiny import NETWORK

DATASET = ("scaler.statistic=dataset", "scaler.normtype=standard")
# Speech and Dog of DESED's ten, in another order, between new classes.
OWN = (
    "data.classes=[Bell, Speech, Fox, Dog]",
    "cross_task.excluded_classes=[]",
    "postprocess.median_window=!replace {default: 5}",
)


def network(*more: str) -> CrossTaskSED:
    return CrossTaskSED(load_config(CONFS / "demo.yaml", [*NETWORK, *more]))


def saved(module: CrossTaskSED, path: Path) -> Path:
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    torch.save(content, path)
    return path


@pytest.fixture
def trained(tmp_path: Path) -> tuple[dict[str, torch.Tensor], Path]:
    """Tensors of a checkpoint in which teacher and student differ, and its file."""
    module = network(*DATASET)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)
    return module.state_dict(), saved(module, tmp_path / "trained.ckpt")


def test_weights_and_statistics_are_taken_and_heads_by_class(
    trained: tuple[dict[str, torch.Tensor], Path],
) -> None:
    expected, path = trained
    module = network(*DATASET, *OWN)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    line, scaler_taken = start_from(module, path)
    assert scaler_taken
    own = load_config(CONFS / "sed.yaml").data.classes
    tensors = 0
    for name, tensor in module.state_dict().items():
        if not name.startswith(("networks.", "scaler.")):
            continue
        if "strong_head" in name or "attention_head" in name:
            assert torch.equal(tensor[1], expected[name][own.index("Speech")])
            assert torch.equal(tensor[3], expected[name][own.index("Dog")])
            assert torch.equal(tensor[[0, 2]], before[name][[0, 2]])
        else:
            tensors += 1
            assert torch.equal(tensor, expected[name])
    assert line == (
        f"Starting from {path}: loaded {tensors} of {tensors} tensors, heads of 2 of 4 classes; "
        "new: head of Bell, head of Fox"
    )


def test_a_checkpoint_without_teacher_starts_both(tmp_path: Path) -> None:
    path = saved(network("training.mean_teacher=false"), tmp_path / "student.ckpt")
    module = network()
    start_from(module, path)
    stored = torch.load(path, weights_only=True)["state_dict"]
    for name, tensor in module.networks["teacher"].state_dict().items():
        assert torch.equal(tensor, stored[f"networks.student.{name}"])
    alone = network("training.mean_teacher=false", "net.sed_filters=[4]")
    line, _ = start_from(alone, path)
    assert "new: student.sed_blocks.0.conv.bias" in line


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("feats.f_max=7000",), r"other features: feats.f_max \(expected 8000.0, got 7000.0\)"),
        (
            ("net.nb_filters=[3, 3, 3]", "net.sed_filters=[3]", "net.n_RNN_cell=3"),
            "expected weights that fit",
        ),
    ],
)
def test_other_features_and_weights_that_do_not_fit_are_refused(
    overrides: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    path = saved(network(), tmp_path / "trained.ckpt")
    with pytest.raises(InputError, match=expected):
        start_from(network(*overrides, "net.sod_branch=false"), path)


def test_the_published_layout_starts_a_training(published_checkpoint: Path) -> None:
    module = CrossTaskSED(load_config(CONFS / "sed.yaml"))
    line, _ = start_from(module, published_checkpoint)
    own = module.networks.state_dict()
    tensors = len(own) - 8  # without the heads of two networks
    assert f"{tensors} of {tensors} tensors, heads of 10 of 10 classes" in line
    for network, prefix in (("student", ""), ("teacher", "teacher.")):
        kernel = own[f"{network}.backbone.4.conv.weight"].transpose(2, 3)  # (time, band)
        expected = golden.tensor("cnn_4.cnn.conv0.weight", tuple(kernel.shape), prefix)
        assert torch.equal(kernel, torch.from_numpy(expected))
        head = own[f"{network}.strong_head.weight"]
        expected = golden.tensor("dense.weight", tuple(head.shape), prefix)
        assert torch.equal(head, torch.from_numpy(expected))


def test_a_frequency_dynamic_network_starts_from_a_plain_one(
    trained: tuple[dict[str, torch.Tensor], Path],
) -> None:
    """Its blocks' kernels are new, so that they cannot be frozen."""
    dynamic = "net.convolution=[plain, plain, frequency_dynamic, plain]"
    expected, path = trained
    module = network(*DATASET, dynamic)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    line, _ = start_from(module, path)
    assert "new: student.backbone.2.conv.attention.conv_in.weight, " in line
    for name, tensor in module.state_dict().items():
        if name.startswith(("networks.", "scaler.")):
            new = "backbone.2.conv." in name
            assert torch.equal(tensor, before[name] if new else expected[name]), name
    start_from(network(*DATASET, dynamic, "training.freeze=[sed_rnn]"), path)
    with pytest.raises(InputError, match=r"training\.freeze: .* student\.backbone\.2\.conv\."):
        start_from(network(*DATASET, dynamic, "training.freeze=[backbone]"), path)


def test_a_head_with_new_classes_cannot_be_frozen(
    trained: tuple[dict[str, torch.Tensor], Path],
) -> None:
    module = network(*DATASET, *OWN, "training.freeze=[attention_head]")
    with pytest.raises(InputError, match=r"got new ones in student\.attention_head\.bias"):
        start_from(module, trained[1])


def test_frozen_parts_stay_and_the_others_are_trained() -> None:
    """In student and teacher, which differ from the start."""
    frozen = ("backbone", "sed_fusion")
    module = network(*PLAIN, f"training.freeze=[{', '.join(frozen)}]")
    for parameter in module.networks["teacher"].parameters():
        parameter.add_(0.1)
    module.eval().train()  # as after a validation
    mean_teacher = MeanTeacher(module.networks["student"], module.networks["teacher"], 0.999)
    before = {name: tensor.clone() for name, tensor in module.networks.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    batch = given_batch(module.config)
    for step in (1, 2):
        features = module.features(batch.audio)
        module.networks["teacher"](features)
        output = module.networks["student"](features)
        (output.strong.mean() + output.weak.mean() + output.sod_logits.square().mean()).backward()
        optimizer.step()
        mean_teacher.update(step)
    in_adam = sum(
        parameter.numel()
        for group in module.configure_optimizers()["optimizer"].param_groups  # type: ignore
        for parameter in group["params"]
    )
    after = module.networks.state_dict()
    parameters = dict(module.networks["student"].named_parameters())
    stay = {name for name in parameters if name.split(".")[0] in (*frozen, "sed_scale")}
    assert in_adam == sum(parameters[name].numel() for name in parameters.keys() - stay)
    for which in ("student", "teacher"):
        changed = {
            name.split(".")[0]
            for name in parameters
            if not torch.equal(after[f"{which}.{name}"], before[f"{which}.{name}"])
        }
        assert changed == {name.split(".")[0] for name in parameters.keys() - stay}
    for name, tensor in after.items():
        if "running_mean" in name:
            assert torch.equal(tensor, before[name]) == (name.split(".")[1] in frozen), name
