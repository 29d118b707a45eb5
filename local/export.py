"""Export the network of a checkpoint, ours or published, as a model that desed_task can run.

    python -m local.export --checkpoint exp/demo/version_0/checkpoints/best.ckpt --output model

The folder has weights.safetensors and model.json, and with `--onnx` or `--torch_export` model.onnx
or model.pt2: docs/model.md. A checkpoint of a training with an encoder needs the encoder, from
the source of the training or from that of `--set encoder.source=SOURCE`.
"""

from collections.abc import Sequence
from pathlib import Path

from desed_task.errors import InputError, run_cli
from desed_task.files import atomic_folder, user_path, visible_entries
from desed_task.options import add_overrides, command_parser

# Imports that take seconds follow inside functions: --help and a mistyped option need none.


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and export."""
    parser = command_parser("python -m local.export", __doc__)
    parser.add_argument("--checkpoint", type=user_path, required=True, metavar="P")
    parser.add_argument("--output", type=user_path, required=True, metavar="DIR")
    parser.add_argument("--network", choices=["student", "teacher"], default="student")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx")
    parser.add_argument("--torch_export", action="store_true", help="also write model.pt2")
    add_overrides(parser, "override a key, for example --set encoder.source=beats.pt2")
    options = parser.parse_args(arguments)
    from desed_task.model import write_model
    from desed_task.model.folder import DESCRIPTION_FILE, WEIGHTS_FILE
    from desed_task.model.graphs import ONNX_FILE, TORCH_FILE, export_graphs
    from local.config.load import override_config
    from local.encoders import has_stored_embeddings
    from local.results.model import trained_model
    from local.run.checkpoints import read_checkpoint, test_config
    from local.run.weights import load_tested

    output: Path = options.output
    own = (DESCRIPTION_FILE, WEIGHTS_FILE, ONNX_FILE, TORCH_FILE)
    others = [path.name for path in visible_entries(output)] if output.is_dir() else []
    if set(others) - set(own) or (output.exists() and DESCRIPTION_FILE not in others):
        raise InputError(f"--output {output}: exists and is no model: expected a new folder")
    if others:
        print(f"replacing the model in {output}")
    content, has_graph = read_checkpoint(options.checkpoint), options.onnx or options.torch_export
    config = test_config(content, None, options.overrides, str(options.checkpoint))
    if has_graph and has_stored_embeddings(config):
        config = override_config(config, ["encoder.mode=online"])
    module, tuned, *_ = load_tested(config, options.checkpoint)
    name = options.network
    if name not in module.networks:
        raise InputError(f"--network: expected {' or '.join(module.networks)}, got {name}")
    model = trained_model(module, name, tuned.get(name), options.checkpoint.name)
    with atomic_folder(output) as partial:
        write_model(partial, model)
        if has_graph:
            source = None if config.encoder is None else config.encoder.source
            graphs = {"onnx": options.onnx, "torch_export": options.torch_export}
            export_graphs(partial, **graphs, encoder=source)
    print(*sorted(output.iterdir()), sep="\n")


if __name__ == "__main__":
    run_cli(main)
