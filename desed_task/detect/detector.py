"""A model that is called on a recording and returns its events."""

import contextlib
import logging
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.dataio.audio import Mono
from desed_task.dataio.bandwidth import Bandwidth
from desed_task.detect.arrays import array_blocks
from desed_task.detect.bands import warn_of_narrow_bands
from desed_task.detect.events import Detection, EventJoiner, Missed, find_events, missed_events
from desed_task.detect.reading import file_blocks
from desed_task.detect.scoring import Probabilities, Recording, network, score_recordings
from desed_task.detect.settings import Checked, Settings
from desed_task.detect.stream import EventStream
from desed_task.errors import FaultError, InputError
from desed_task.evaluation.decode import frame_times
from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.model import Model, ModelDescription, load_model
from desed_task.model.graphs import OnnxModel
from desed_task.sod import SOD_STATE_NAMES, corrected_scores

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["32", "bf16"]
Runtime = Literal["torch", "onnx"]


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in a recording.

    Attributes:
        seconds: length of the recording.
        detections: its events by onset.
        classes: names of the model's classes.
        values: `(classes, frames)`, scores after post-processing; of `sebbs`, those of the boxes.
        edges: starts of the scores' frames and the end of the last one, seconds, `(frames + 1,)`;
            of `sebbs`, the times at which a box begins or ends.
        states: `(3, frames)`, probabilities of 0, 1, 2 and more sounds; None without SOD.
        state_edges: as `edges`, of the states.
        upper_hz: highest frequency that the model reads.
        missed: places where an event may be missing, by onset.
    """

    seconds: float
    detections: list[Detection]
    classes: tuple[str, ...]
    values: NDArray[np.floating]
    edges: NDArray[np.float64]
    states: NDArray[np.float32] | None
    state_edges: NDArray[np.float64]
    upper_hz: float
    missed: list[Missed] = field(default_factory=list)

    @property
    def events(self) -> "pd.DataFrame":
        """The events: onset, offset (seconds), event_label, confidence."""
        import pandas as pd

        columns = ["onset", "offset", "event_label", "confidence"]
        return pd.DataFrame([vars(each) for each in self.detections], columns=columns)

    @property
    def scores(self) -> "pd.DataFrame":
        """Scores by class (rows) and start of the frame in seconds (columns)."""
        import pandas as pd

        return pd.DataFrame(self.values, index=list(self.classes), columns=self.edges[:-1])

    @property
    def sod(self) -> "pd.DataFrame | None":
        """Probability of each number of sounds (rows) by start of the frame (columns)."""
        import pandas as pd

        if self.states is None:
            return None
        return pd.DataFrame(self.states, index=list(SOD_STATE_NAMES), columns=self.state_edges[:-1])


class Detector:
    """Finds the events of recordings.

    Args:
        folder: a model (docs/model.md).
        settings: how scores become events.
        device: `auto`: a GPU where there is one.
        precision: `bf16`: convolutions, and an encoder of PyTorch, in bfloat16.
        runtime: `onnx`: model.onnx by onnxruntime, on the CPU in float32.
        batch_size: windows that go through the network together.
        encoder: source of the model's encoder, where it has one (docs/encoders.md).

    Raises InputError for a model that cannot be read, or settings that it does not allow.

    Example:
        >>> detector = Detector.load("model")          # doctest: +SKIP
        >>> detector("kitchen.wav").events             # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Settings | None = None,
        *,
        device: Device = "auto",
        precision: Precision = "32",
        runtime: Runtime = "torch",
        batch_size: int = 16,
        encoder: str | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if runtime == "torch" and torch.cuda.is_available() else "cpu"
        if runtime == "onnx" and (device, precision) != ("cpu", "32"):
            raise InputError("--runtime onnx: expected --device cpu and --precision 32")
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: PyTorch can use no GPU: expected auto or cpu")
        if batch_size < 1:
            raise InputError(f"--batch_size: expected at least 1, got {batch_size}")
        model: Model | OnnxModel
        if runtime == "onnx":
            if encoder is not None:
                raise InputError(
                    "--encoder: expected none with --runtime onnx: model.onnx has its encoder"
                )
            model = OnnxModel(Path(folder))
        else:
            model = load_model(folder, encoder).to(device)
            if precision == "bf16":
                model.set_encoder_precision("bf16")
        self.model = model
        self.description: ModelDescription = model.description
        self._given = settings or Settings()
        self.settings: Checked = self._given.checked(self.description)
        self.batch_size = batch_size
        self._run = network(model, autocast=torch.bfloat16 if precision == "bf16" else None)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> "Detector":
        """The detector of a model's folder; options as of the class."""
        return cls(folder, **options)

    def __call__(
        self, recording: "str | Path | NDArray[Any] | torch.Tensor", rate: int | None = None
    ) -> Result:
        """Detect the events of a file, or of an array.

        Args:
            recording: a path, or samples as in `desed_task.detect.arrays.float_samples`.
            rate: Hz, of an array.

        Raises InputError for a recording that cannot be read.
        """
        own, channel = self.description.sample_rate, self.settings.channel
        band, name = Bandwidth(own), "audio"
        if isinstance(recording, str | Path):
            name = str(recording)
            blocks = Recording(0, partial(file_blocks, recording, own, channel, band))
        elif rate is None:
            raise InputError("rate: expected the sample rate of the array in Hz, got none")
        else:
            mono = Mono(channel, name)
            blocks = Recording(0, partial(array_blocks, recording, rate, own, mono, band))
        ((_, found),) = self.detect([blocks], workers=0)
        if isinstance(found, InputError | FaultError):
            raise found
        warn_of_narrow_bands({name: band.hz}, self.description.features.f_max)
        return found

    def detect(
        self, recordings: Iterable[Recording], **options: Any
    ) -> Generator[tuple[Any, Result | InputError | FaultError], None, None]:
        """Results by key, or why a recording cannot be read, in the order of completion.

        `options` are `workers` and `progress` of `score_recordings`.
        """
        with contextlib.closing(self.score(recordings, **options)) as scored:
            for key, found in scored:
                yield key, self._result(found) if isinstance(found, Probabilities) else found

    def score(
        self, recordings: Iterable[Recording], **options: Any
    ) -> Generator[tuple[Any, Probabilities | InputError | FaultError], None, None]:
        """Frame probabilities by key, as `score_recordings` returns them."""
        return score_recordings(
            recordings,
            self._run,
            self.description.grid,
            overlap=self.settings.overlap,
            batch_size=self.batch_size,
            short_windows=isinstance(self.model, Model) and self.model.is_local,
            **options,
        )

    def corrected(self, found: Probabilities) -> NDArray[np.float32]:
        """Scores `(classes, frames)` after score correction, before post-processing."""
        n_classes = len(self.description.classes)
        strong, states = found.values[:n_classes], found.values[n_classes:]
        description = self.description
        return corrected_scores(strong, states, description.classes, description.correction)

    def stream(self, rate: int, channels: int = 1, latency: float = 2.0) -> EventStream:
        """A stream that takes blocks `(samples, channels)` and returns the events that are certain.

        Args:
            rate: Hz, of the blocks.
            channels: of the blocks.
            latency: seconds of audio after which the scores of a frame are final.

        Where the model's default post-processing needs the whole recording, the median filter is
        used, with a warning. Raises InputError where the settings name such a method.
        """
        settings = self._given.for_stream(self.description).checked(self.description)
        if settings.method != self.settings.method:
            logger.warning(
                "stream: the model's %s needs the whole recording: %s is used",
                self.settings.method,
                settings.method,
            )
        return EventStream(self._run, self.description, settings, rate, channels, latency)

    def _joiner(self) -> EventJoiner:
        settings = self.settings
        return EventJoiner(settings.merge_gap, settings.min_duration, settings.calibration)

    def _result(self, found: Probabilities) -> Result:
        """The events of a recording; a short one was padded, and nothing is found after its end."""
        classes, seconds = self.description.classes, found.seconds
        states = found.values[len(classes) :]
        scores = Scores.from_clips([self.corrected(found)], ["recording"], [found.grid])
        output = self.settings.parameters.apply(scores, classes)
        n_frames = found.grid.offset_to_frame(seconds)
        edges = np.minimum(frame_times(found.grid, n_frames), seconds)
        if isinstance(output, Boxes):
            output = output.before(seconds)
        else:
            output = Scores(output.values[..., :n_frames], output.names, edges)
        thresholds = self.settings.thresholds
        events = self._joiner().add(find_events(output, classes, thresholds), np.inf)
        shown = output.as_scores()
        return Result(
            seconds=seconds,
            detections=sorted(events, key=lambda event: (event.onset, event.event_label)),
            classes=classes,
            values=shown.values[0],
            edges=shown.edges[0],
            states=states[:, :n_frames] if len(states) else None,
            state_edges=edges,
            upper_hz=self.description.features.f_max,
            missed=missed_events(output, classes, thresholds, events, self._joiner()),
        )
