"""Where tests find the project's own files."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFS = ROOT / "confs"
GOLDEN = Path(__file__).parent / "golden"
