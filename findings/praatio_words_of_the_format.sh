#!/usr/bin/env bash
# praatio 6.2.2 cannot open a Praat TextGrid in which a label has words of the file format, such as `item [2]:`.
#
# A label is any text between quotation marks. praatio splits the whole file at the format's words before it looks at quotation
# marks, so that one label makes all tiers unreadable, with an error that does not name the label. textgrid 1.6.1 reads the same file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet praatio==6.2.2 textgrid==1.6.1

cat > "$folder/check.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import textgrid
from praatio import textgrid as praat

LINES = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "calls"
        xmin = 0
        xmax = 2
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "FIRST"
        intervals [2]:
            xmin = 1
            xmax = 2
            text = "owl"
"""


def read(opened) -> str:
    try:
        return ", ".join(opened())
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:50]}"


def labels(first: str) -> tuple[str, str]:
    path = Path(sys.argv[1], "x.TextGrid")
    path.write_text(LINES.replace("FIRST", first))
    by_praatio = lambda: [e.label for e in praat.openTextgrid(str(path), False).tiers[0].entries]
    by_textgrid = lambda: [interval.mark for interval in textgrid.TextGrid.fromFile(str(path))[0]]
    return read(by_praatio), read(by_textgrid)


print(*(f"{name} {version(name)}" for name in ("praatio", "textgrid")), sep=", ")
results = {first: labels(first) for first in ("dog", "see item [2]:", "intervals [1]: dog")}
for first, (by_praatio, by_textgrid) in results.items():
    print(f"label {first!r:22} praatio -> {by_praatio:45} textgrid -> {by_textgrid}")
plain, *others = results.items()
same = plain[1] == ("dog, owl", "dog, owl")
stops = all("Error: " in found[0] and found[1] == f"{first}, owl" for first, found in others)
sys.exit(not (same and stops))
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder"
