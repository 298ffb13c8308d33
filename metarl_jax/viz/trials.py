"""Pictures of tasks, and trials as animated GIFs. Pictures are uint8 RGB arrays ``[rows, columns, 3]``."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.storage.files import user_path
from metarl_jax.viz import style

COLOURS = 256  # of a GIF's palette; two are kept for captions
INK, PAPER = (34, 34, 34), (255, 255, 255)


def draw_tasks(
    pictures: Sequence[np.ndarray],
    path: str | os.PathLike | None = None,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
) -> Any:
    """Many pictures side by side, each with its title; pixels stay sharp.

    Args:
      pictures: uint8 RGB ``[rows, columns, 3]`` each.
      path: where to write the figure.
      titles: one for each picture.
      columns: of the figure; by default as ``fitting_columns`` says.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ValueError: no pictures, arrays that are no pictures, or titles of another number.

    Example:
      ``metarl_jax.viz.draw_tasks([env.picture(task) for task in tasks], "tasks.png", columns=4)``
    """
    pictures = [checked(picture) for picture in pictures]
    if not pictures or (titles is not None and len(titles) != len(pictures)):
        raise ValueError(f"{len(pictures)} pictures and {len(titles or ())} titles: give one title a picture")
    columns = columns or fitting_columns(len(pictures))
    rows = -(-len(pictures) // columns)
    side = min(2.2, 14 / columns)
    with style.style():
        figure = style.new_figure(side * columns, (side + (0.3 if titles else 0.0)) * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for index, (axes, picture) in enumerate(zip(grid, pictures, strict=False)):
            axes.imshow(picture, interpolation="nearest")
            if titles is not None:
                axes.set_title(titles[index], fontsize=9.5, loc="center", pad=3)
        return style.save(figure, path)


def fitting_columns(num: int) -> int:
    """Columns for a number of pictures: one row for a few, else about square with the fewest places left empty.

    Args:
      num: of pictures.

    Returns:
      Number of columns.
    """
    square = num**0.5
    return num if num <= 4 else min(range(math.ceil(square), int(1.7 * square) + 1), key=lambda c: (-num % c, -c))


def animate(
    frames: Sequence[np.ndarray],
    path: str | os.PathLike,
    scale: int | None = None,
    milliseconds: int = 100,
    captions: Sequence[str] | None = None,
) -> Path:
    """Writes an endless GIF of frames that all have one size.

    Colours are exact as long as there are no more than 254 of them. Frames that show the same are stored as one that
    stays longer.

    Args:
      frames: uint8 RGB ``[rows, columns, 3]`` each.
      path: the file to write; missing folders are made.
      scale: the size of a pixel; by default the picture becomes about 320 pixels high.
      milliseconds: how long a frame stays; GIF counts in hundredths of a second, and viewers slow down below 20.
      captions: a line below each frame, such as ``"episode 2  step 31  return 1"``.

    Returns:
      The path.

    Raises:
      ValueError: no frames, frames of several sizes, or captions of another number.

    Example:
      ``metarl_jax.viz.animate(frames, "trial.gif", captions=[f"step {t}" for t in range(len(frames))])``
    """
    from PIL import Image

    frames = [checked(frame) for frame in frames]
    if not frames or len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"an animation needs frames of one size, not {sorted({frame.shape for frame in frames})}")
    if captions is not None and len(captions) != len(frames):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions: give one caption a frame")
    indices, palette = indexed(np.stack(frames))
    scale = scale or max(1, round(320 / frames[0].shape[0]))
    font = _caption_font(frames[0].shape[1] * scale) if captions is not None else None
    images = []
    for number, frame in enumerate(indices):
        pixels = frame.repeat(scale, axis=0).repeat(scale, axis=1)
        image = Image.fromarray(pixels if captions is None else _captioned(pixels, captions[number], font))
        image.putpalette(palette)
        images.append(image)
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return path


def checked(picture: np.ndarray) -> np.ndarray:
    """Checks that an array is a picture.

    Args:
      picture: whatever NumPy reads.

    Returns:
      The NumPy array.

    Raises:
      ValueError: it is not uint8 RGB ``[rows, columns, 3]``; says what it is.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is uint8 RGB [rows, columns, 3], not {picture.dtype} {list(picture.shape)}")
    return picture


def indexed(frames: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Reduces RGB frames to indices into one palette: ink, paper, then the frames' colours.

    With more than 254 colours the last bits of red, green and blue are dropped, one more of each at a time, until they
    fit.

    Args:
      frames: ``[F, rows, columns, 3]`` uint8.

    Returns:
      uint8 indices ``[F, rows, columns]``, and the palette as bytes, three for each colour.
    """
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    for lost in range(8):
        keep = 0xFF & ~((1 << lost) - 1)
        packed = (red & keep) << 16 | (green & keep) << 8 | (blue & keep)
        colours, inverse = np.unique(packed, return_inverse=True)
        if colours.size <= COLOURS - 2:
            break
    channels = np.stack([colours >> 16, colours >> 8 & 0xFF, colours & 0xFF], axis=-1).astype(np.uint8)
    return (inverse.reshape(packed.shape) + 2).astype(np.uint8), bytes((*INK, *PAPER)) + channels.tobytes()


def _caption_font(width: int) -> Any:
    """Pillow's own font, in a size that suits a picture ``width`` pixels wide."""
    from PIL import ImageFont

    return ImageFont.load_default(14 if width >= 200 else 10)


def _captioned(pixels: np.ndarray, caption: str, font: Any) -> np.ndarray:
    """``pixels`` (palette indices) with a strip of text below, cut where the picture ends."""
    from PIL import Image, ImageDraw

    strip = Image.new("P", (pixels.shape[1], int(font.size) + 10), 1)
    draw = ImageDraw.Draw(strip)
    draw.fontmode = "1"  # no grey edges: they would not be in the palette
    draw.text((4, 4), caption, fill=0, font=font)
    return np.concatenate([pixels, np.asarray(strip)])
