"""Worker of `rsnb.world.render_split`: writes raw RGB of scenes [a, b) to stdout."""

from __future__ import annotations

import sys

from PIL import Image

from rsnb.world.canvas import NATIVE
from rsnb.world.render import render
from rsnb.world.scene import sample

if __name__ == "__main__":
    split, first, last, side = sys.argv[1], *map(int, sys.argv[2:5])
    for k in range(first, last):
        image = render(sample(split, k))
        if side != NATIVE:
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        sys.stdout.buffer.write(image.tobytes())
