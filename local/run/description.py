"""Description of a run, printed before it trains."""

import torch

from desed_task.nnet.arithmetic import count_multiply_adds
from desed_task.process_group import ranks
from local.run.machine import Machine
from local.sed_trainer import CrossTaskSED


def describe(module: CrossTaskSED, machine: Machine, steps: int) -> str:
    """Lines on the networks, the batches and the device of a training."""
    config = module.config
    student = module.networks["student"]
    parameters = sum(parameter.numel() for parameter in student.parameters())
    multiply_adds = count_multiply_adds(
        config.net,
        len(config.data.classes),
        config.feats.n_mels,
        config.grid.n_hops,
        config.encoder,
        device="cuda" if machine.gpus else "cpu",
    )
    sizes = config.clips_per_set
    shares = " + ".join(f"{size} {name}" for name, size in sizes.items() if size)
    device = torch.cuda.get_device_name() if machine.gpus else "CPU"
    precision = machine.precision(config)
    if machine.gpus and precision == "32-true" and torch.backends.cudnn.allow_tf32:
        precision += " (TF32 in convolutions and GRUs)"  # 10 bits of mantissa, PyTorch's default
    lines = [
        f"Parameters      {parameters:,} ({', '.join(module.networks)})",
        f"Multiply-adds   {multiply_adds / 1e6:,.1f} million per clip",
        f"Batch           {shares} clips",
        f"Steps per epoch {steps} (of {config.training.n_epochs} epochs)",
        f"Device          {device}, precision {precision}",
    ]
    if ranks() > 1:
        lines.insert(3, f"Processes       {ranks()}, with such a batch in each")
    encoder = config.encoder
    if encoder is not None:
        use = "trained" if encoder.train else encoder.mode
        digest = (module.encoder_digest or "")[:12]
        shape = f"{encoder.width} values each {encoder.frame_seconds:g} s"
        lines.insert(1, f"Encoder         {encoder.source} (SHA-256 {digest}…), {use}, {shape}")
        lines[2] += ", without the encoder"
    if module.encoder_parts:
        rates = {part.name: part.rate * module.rate_scale for part in module.encoder_parts}
        listed = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
        lines.append(f"Encoder rates   {listed}")
    if config.absent_sets:
        lines.append(f"Absent sets     {', '.join(config.absent_sets)} (data.*_folder: null)")
    if not config.net.sod_branch:
        lines.append("SOD task        off, and with it " + ", ".join(NEEDS_SOD))
    return "\n".join(lines)


NEEDS_SOD = (
    "SOD loss and consistency",
    "cross-task consistency",
    "pseudo-label selection",
    "score correction",
)
