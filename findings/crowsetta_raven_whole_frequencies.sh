#!/usr/bin/env bash
# crowsetta 5.1.2 refuses a Raven selection table whose frequencies are all whole numbers without a decimal point.
#
# A selection over the whole band (0 to 8000 Hz) is written so by many programs and by hand. pandas reads such a column as
# integers, and crowsetta's schema accepts floats alone. With `0.0` and `8000.0` the same table is read. One value with a decimal
# point in a column is enough, so that the same program's tables are read or refused depending on their content.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet crowsetta==5.1.2 pandera==0.35.0 pandas==3.1.1

cat > "$folder/check.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import crowsetta

COLUMNS = "Selection View Channel Begin_Time_(s) End_Time_(s) Low_Freq_(Hz) High_Freq_(Hz) Annotation"


def result(low: list[str], high: list[str]) -> str:
    lines = [COLUMNS.replace(" ", "\t").replace("_", " ")]
    for number, (bottom, top) in enumerate(zip(low, high), start=1):
        row = (number, "Spectrogram 1", 1, f"{number}.5", f"{number}.9", bottom, top, "owl")
        lines.append("\t".join(map(str, row)))
    path = Path(sys.argv[1], "x.Table.1.selections.txt")
    path.write_text("\n".join(lines) + "\n")
    try:
        raven = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Annotation")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"{len(raven.to_bbox())} boxes"


cases = {
    "0 and 8000": result(["0", "0"], ["8000", "8000"]),
    "0.0 and 8000.0": result(["0.0", "0.0"], ["8000.0", "8000.0"]),
    "0 and 8000, once 10.5 and 7000.5": result(["0", "10.5"], ["8000", "7000.5"]),
}
print(*(f"{name} {version(name)}" for name in ("crowsetta", "pandera", "pandas")), sep=", ")
for name, found in cases.items():
    print(f"{name:34} -> {found}")
refused, floats, mixed = cases.values()
sys.exit(not (refused.startswith("SchemaError") and floats == mixed == "2 boxes"))
PYTHON
"$folder/venv/bin/python" "$folder/check.py" "$folder"
