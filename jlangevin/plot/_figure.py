"""Figures and colours, and checks of the data to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jlangevin._core.checks import (
    as_array,
    as_draws,
    as_host,
    check_count,
    check_increasing,
    check_known,
    check_scalar,
)
from jlangevin._core.trees import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "ON_HOST",
    "Array",
    "as_chain_array",
    "as_coordinates",
    "as_numbers",
    "as_steps",
    "axes_or_new",
    "check_color",
    "figure",
    "legend",
    "two_axes",
]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

Array = NDArray[Any]

ON_HOST = "a picture is drawn on the host"


def figure(num_panels: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, independent of pyplot's global state.

    Args:
        num_panels: the number of Axes.
        height: in inches; the width of a panel is a quarter more.

    Returns:
        The Figure and a list of its Axes.

    Raises:
        ImportError: Matplotlib is not installed.
        TypeError, ValueError: `num_panels` is not at least 1, or `height` is not above zero.

    Example:
        >>> import jlangevin as jl
        >>> figure, (left, right) = jl.plot.figure(2)
        >>> energy = jl.energies.ring()
        >>> left = jl.plot.contours(energy, ((-3, 3), (-3, 3)), ax=left)
        >>> right = jl.plot.score_field(energy, ((-3, 3), (-3, 3)), ax=right)
        >>> figure.get_size_inches().tolist()
        [9.0, 3.6]
    """
    num_panels = check_count("num_panels", num_panels, minimum=1)
    check_scalar("height", height, positive=True)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures need Matplotlib, the extra plot: pip install matplotlib"
        ) from error
    made = Figure(figsize=(1.25 * height * num_panels, height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(1, num_panels, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return made, list(axes)


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the panel of a new figure."""
    if ax is None:
        return figure(1)[1][0]
    _check_axes(ax, "one of Matplotlib's Axes, as in ax=axes[0]")
    return ax


def two_axes(ax: tuple[Axes, Axes] | None) -> tuple[Axes, Axes]:
    """The two Axes in `ax`, or the two panels of a new figure."""
    if ax is None:
        left, right = figure(2)[1]
        return left, right
    wanted = "two of Matplotlib's Axes, as in ax=axes[:2]"
    try:
        left, right = ax
    except (TypeError, ValueError):
        number = f" of {len(ax)}" if hasattr(ax, "__len__") else ""
        raise TypeError(
            f"ax: expected {wanted} of figure, axes = jlangevin.plot.figure(2); got "
            f"{type(ax).__name__}{number}"
        ) from None
    for one in (left, right):
        _check_axes(one, wanted)
    return left, right


def _check_axes(ax: object, wanted: str) -> None:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax: expected {wanted} of figure, axes = jlangevin.plot.figure(2); got "
            f"{type(ax).__name__}"
        )


def check_color(color: object) -> None:
    """Raise ValueError unless Matplotlib knows `color` as a colour."""
    from matplotlib.colors import is_color_like

    if not is_color_like(color):
        raise ValueError(
            f"color: expected a colour, such as 'red', '#0072B2' or jlangevin.plot.COLORS[0], got "
            f"{color!r}"
        )


def legend(ax: Axes, **options: Any) -> None:
    """A legend without a frame, but readable on top of lines."""
    ax.legend(fontsize=8, edgecolor="none", facecolor="white", framealpha=0.8, **options)


# What is to be drawn ------------------------------------------------------------------------------


def as_chain_array(draws: Numbers, *, name: str = "draws", plane: bool = False) -> Array:
    """Draws as a finite array (chain, draw, d) on the host; d must be 2 if `plane`."""
    check_known(ON_HOST, **{name: draws})
    array = as_draws(name, draws)
    if plane and array.shape[-1] != 2:
        raise ValueError(
            f"{name}: a picture of the plane needs d = 2, got shape {array.shape}; "
            f"choose two coordinates, for instance {name}[..., :2]"
        )
    return np.asarray(array[None] if array.ndim == 2 else array)


def as_steps(steps: Numbers | None, num_draws: int) -> Array:
    """The number of steps after which each draw was taken: 1, 2, … if None."""
    if steps is None:
        return np.arange(1, num_draws + 1)
    array = np.asarray(as_array("steps", steps))
    if array.shape != (num_draws,):
        raise ValueError(
            f"steps: expected a number for each of the {num_draws} draws, got shape {array.shape}"
        )
    check_increasing("steps", array, "numbers from 0 on", above=0)
    return array


def as_numbers(name: str, value: object) -> Array:
    """`value` as real numbers on the host, in their own precision."""
    check_known(ON_HOST, **{name: value})
    return as_host(name, value)


def as_coordinates(coordinates: Sequence[int] | None, dim: int) -> list[int]:
    """The coordinates to draw, all by default; no more than there are colours."""
    if coordinates is None:
        chosen = list(range(dim))
    else:
        one = isinstance(coordinates, str) or np.ndim(coordinates) == 0
        given = [coordinates] if one else coordinates
        chosen = [check_count("coordinates", i, minimum=0) for i in given]
    if not 1 <= len(chosen) <= len(COLORS):
        raise ValueError(
            f"coordinates: a picture shows 1 to {len(COLORS)}, got {len(chosen)}; name those to "
            "draw, for instance coordinates=[0, 1]"
        )
    if not all(0 <= i < dim for i in chosen):
        raise ValueError(f"coordinates: expected numbers in 0 … {dim - 1}, got {chosen}")
    return chosen
