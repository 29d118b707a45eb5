"""Audio -> probabilities: front end and network of a model as one module."""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from desed_task.encoder.encoder import FrameEncoder
from desed_task.features import LogMel, Scaler
from desed_task.model.description import ModelDescription
from desed_task.nnet.crnn import CRNN


class ModelOutput(NamedTuple):
    """Probabilities, float32.

    Attributes:
        strong: `(batch, classes, frames)`, of each class in each frame.
        weak: `(batch, classes)`, of each class in the clip.
        sod: `(batch, frames, 3)`, of 0, 1, 2 and more sounds; None without the SOD branch.
    """

    strong: Tensor
    weak: Tensor
    sod: Tensor | None


class Model(nn.Module):
    """Features, scaler and network, in evaluation mode.

    Args:
        description: content of model.json.
        network: its network, with weights.
        scaler: its scaler, with statistics.
        encoder: where the description has one.
    """

    def __init__(
        self,
        description: ModelDescription,
        network: CRNN,
        scaler: Scaler,
        encoder: FrameEncoder | None = None,
    ) -> None:
        super().__init__()
        self.description = description
        self.log_mel = LogMel(description.features, description.sample_rate)
        self.scaler = scaler
        self.network = network
        self.encoder = encoder
        self.eval()

    @property
    def is_local(self) -> bool:
        """Whether a score depends little on how much silence pads a clip: no average over frames.

        The range of `minmax` and the statistics of a data set are the same with less silence.
        Weak scores are means over frames always.
        """
        scaler, network = self.description.scaler, self.description.network
        fixed = scaler.normtype == "minmax" or (scaler.statistic == "dataset" and 2 in scaler.dims)
        plain = "frequency_dynamic" not in network.convolution and self.encoder is None
        return fixed and plain

    def set_encoder_precision(self, precision: Literal[32, "bf16"]) -> None:
        """Let an encoder of PyTorch compute in float32 or bfloat16, whatever the training had."""
        encoder = self.encoder
        if encoder is not None and isinstance(encoder.function, nn.Module):
            update = {"precision": precision}
            encoder.settings = encoder.settings.model_copy(update=update)

    def forward(self, audio: Tensor) -> ModelOutput:
        """`(batch, samples)` in [-1, 1], of the length of the network's input -> probabilities."""
        embeddings = None if self.encoder is None else self.encoder(audio)
        return self.probabilities(self.log_mel(audio), embeddings)

    def probabilities(self, log_mel: Tensor, embeddings: Tensor | None = None) -> ModelOutput:
        """Log-mel in dB `(batch, bands, frames of the spectrogram)` -> probabilities.

        `embeddings` `(batch, frames, width)` are those of the encoder.
        """
        strong, weak, sod_logits = self.network(self.scaler(log_mel), embeddings=embeddings)
        return ModelOutput(strong, weak, None if sod_logits is None else sod_logits.softmax(dim=-1))
