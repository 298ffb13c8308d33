"""What all figures share: colours that the colour-blind can tell apart (Okabe and Ito 2008), fonts, saving."""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from typing import Any

from metarl_jax.storage.files import user_path

AGENT, CONTROL, MUTED = "#0072B2", "#D55E00", "#8A8A8A"
ROLES = {
    "bayes": "#009E73",
    "optimal": "#222222",
    "non_adaptive": "#B0609A",
    "memoryless": "#B0609A",
    "posterior_sampling": "#C8A000",
}
KINDS = {"exact": (0, (6, 2)), "lower": (0, (3, 2)), "upper": (0, (1, 1.5)), "estimate": (0, (4, 1.5, 1, 1.5))}

SETTINGS: Any = {
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.9,
    "lines.markersize": 4.5,
    "savefig.dpi": 150,
    "figure.dpi": 100,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """A context with the library's look for figures; the user's own matplotlib settings stay as they are.

    Yields:
      Nothing.
    """
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


def new_figure(width: float, height: float) -> Any:
    """A figure that notebooks show and no window manager holds on to.

    Args:
      width: in inches.
      height: in inches.

    Returns:
      The matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    setattr(figure, "_repr_png_", functools.partial(png, figure))  # noqa: B010 (IPython looks for it)
    return figure


def png(figure: Any) -> bytes:
    """The figure as the bytes of a PNG file.

    Args:
      figure: matplotlib's.

    Returns:
      The bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save(figure: Any, path: str | os.PathLike | None) -> Any:
    """Writes the figure where a path is given.

    Args:
      figure: matplotlib's.
      path: its ending chooses the format; missing folders are made. None: nothing is written.

    Returns:
      The figure.
    """
    if path is not None:
        path = user_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure
