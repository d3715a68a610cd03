"""Draw all pictures again: `python -m docs.pictures [DIRECTORY]`."""

import sys
from pathlib import Path

from docs.pictures import DIRECTORY, PICTURES

directory = Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY
for name, draw in PICTURES.items():
    (directory / name).write_text(draw(), encoding="utf-8")
    print(directory / name)
