"""Measure an encoder's clock, and print the section `encoder` of a configuration.

python -m desed_task.encoder --source encoder.onnx --sample_rate 16000

Clicks at known times show the steps of its output, the time between them and the first one's
centre (docs/encoders.md, "Time"). A model of transformers knows its sample rate.
"""

import argparse
from collections.abc import Sequence

from desed_task.errors import InputError, run_cli
from desed_task.options import check_least, command_parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("python -m desed_task.encoder", __doc__)
    add = parser.add_argument
    add("--source", required=True, help="as encoder.source of a configuration")
    add("--sample_rate", type=int, metavar="HZ", help="of its input")
    add("--clip_seconds", type=float, default=10.0, metavar="S", help="length of a clip (10)")
    add("--bands", type=int, metavar="N", help="tokens of a step, where it has several")
    add("--order", choices=("time", "band"), default="time", help="of these tokens (time)")
    options = parser.parse_args(arguments)
    check_least(options, clip_seconds=0.1)
    for name in ("sample_rate", "bands"):
        if getattr(options, name) is not None:
            check_least(options, **{name: 1})
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse_args(arguments)
    from torch import nn

    from desed_task.encoder.clock import measure_clock
    from desed_task.encoder.settings import Tokens
    from desed_task.encoder.sources import load_function

    function, _ = load_function(options.source)
    if isinstance(function, nn.Module):
        function.eval()
    known = getattr(function, "sample_rate", options.sample_rate)
    rate = options.sample_rate or known
    if rate is None or rate != known:
        expected = "the rate of its input in Hz" if rate is None else known
        raise InputError(f"--sample_rate: expected {expected}, got {rate or 'none'}")
    tokens = Tokens(bands=options.bands, order=options.order) if options.bands else None
    try:
        clock = measure_clock(function, rate, options.clip_seconds, tokens)
    except InputError as error:
        raise InputError(f"{options.source}: {error}") from None
    print(
        f"# {options.clip_seconds:g} s: {clock.n_steps} steps; the clicks lie within "
        f"{1000 * clock.error:.0f} ms (median) of this clock"
    )
    print("encoder:")
    print(f"  source: {options.source}")
    print(f"  sample_rate: {rate}")
    print(f"  frame_seconds: {clock.step:.4g}")
    print(f"  first_frame: {max(0, clock.first):.3g}")
    print(f"  dimension: {clock.dimension}")
    if tokens is not None:
        print(f"  tokens: {{bands: {tokens.bands}, order: {tokens.order}}}")
    return 0


if __name__ == "__main__":
    run_cli(main)
