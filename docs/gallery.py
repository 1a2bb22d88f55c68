"""The pictures of docs/pages/gallery.md, made by the code on that page: `python docs/gallery.py`.

A picture is that of `ax` after the code block above it, unless the block writes it itself.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from PIL import Image

PAGE = Path(__file__).parent / "pages" / "gallery.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n\n!\[[^]]*\]\(gallery/(\S+)\)", re.M | re.S)


def main() -> None:
    folder = PAGE.parent / "gallery"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    namespace: dict[str, Any] = {"__name__": "page"}
    for code, name in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        begun = time.process_time()
        exec(compile(code, str(PAGE), "exec"), namespace)
        if name.endswith(".png"):
            namespace["ax"].figure.savefig(name, dpi=110)
            Image.open(name).convert("RGB").quantize(256).save(name, optimize=True)
        size = Path(name).stat().st_size / 1e3
        print(f"{name}: {size:.0f} kB, {time.process_time() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
