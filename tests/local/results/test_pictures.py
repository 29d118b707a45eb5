from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.nnet.crnn import SEDOutput
from local.config.load import load_config
from local.results.pictures import ClipPicture
from tests.support.classes import CLASSES
from tests.support.paths import CONFS

N_FRAMES = 20
HOSTILE_NAME = "$x^{$ <script> _.wav"  # not a valid formula of matplotlib


def offer(picture: ClipPicture, kinds: list[ClipKind], with_event: list[bool]) -> None:
    """Offer a batch of clips to the picture."""
    n_clips = len(kinds)
    targets = torch.zeros(n_clips, len(CLASSES), N_FRAMES)
    targets[with_event, 2, 5:10] = 1
    batch = Batch(
        audio=torch.zeros(n_clips, 16000),
        targets=targets,
        kind=torch.tensor(kinds),
        names=(HOSTILE_NAME,) * n_clips,
        seconds=torch.full((n_clips,), 10.0, dtype=torch.float64),
    )
    generator = torch.Generator().manual_seed(0)
    strong = torch.rand(targets.shape, generator=generator)
    output = SEDOutput(strong, strong.amax(dim=-1), torch.zeros(n_clips, N_FRAMES, 3))
    features = torch.rand(n_clips, 128, 4 * N_FRAMES, generator=generator)
    picture.offer(batch, lambda: (features, {"student": output, "teacher": output}))


def test_picture_of_a_clip_with_frame_labels_and_an_event(tmp_path: Path) -> None:
    logger = SimpleNamespace(log_dir=tmp_path)
    module = SimpleNamespace(loggers=[logger], logger=logger, current_epoch=7, global_step=3)
    picture = ClipPicture(load_config(CONFS / "sed.yaml"))
    offer(picture, [ClipKind.WEAK, ClipKind.SYNTHETIC], [True, False])
    picture.write(module)
    assert list(tmp_path.iterdir()) == []
    offer(picture, [ClipKind.WEAK, ClipKind.SYNTHETIC], [True, True])
    picture.write(module)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["epoch_0007.png"]
    with Image.open(tmp_path / "pictures" / "epoch_0007.png") as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 200
