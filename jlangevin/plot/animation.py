"""Chains in motion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax.typing import ArrayLike

from jlangevin._core.checks import check_count, check_scalar
from jlangevin._core.trees import Numbers
from jlangevin.energies.base import Energy
from jlangevin.plot._figure import COLORS, as_chain_array, as_steps
from jlangevin.plot.landscape import Span, contours, span_of

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

__all__ = ["animate"]


def animate(
    draws: Numbers,
    energy: Energy,
    *,
    span: Span | None = None,
    temperature: ArrayLike = 1.0,
    steps: Numbers | None = None,
    seconds: float = 4.0,
    trail: int = 0,
    ax: Axes | None = None,
) -> FuncAnimation:
    """The chains as moving points over the contours of the energy, with a frame for each draw.

    `animate(…).save("chains.gif", writer="pillow")` draws the frames and writes them; Pillow comes
    with Matplotlib.

    Args:
        draws: (draw, 2) or (chain, draw, 2).
        energy: E, a function of a position (2,).
        span: the part of the plane to show, ((from, to), (from, to)); by default it contains all
            draws.
        temperature: T.
        steps: the number of steps after which each draw was taken; 1, 2, … if None.
        seconds: the duration.
        trail: the number of earlier draws that are shown too, as a line.
        ax: where to draw.

    Returns:
        Matplotlib's animation; keep it until it is saved.

    Raises:
        ValueError: draws are not in the plane; or as `contours`.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, jlangevin as jl
        >>> energy = jl.energies.ring()
        >>> run = jl.sample(jax.random.key(0), energy, jl.ula(0.02), jnp.ones((9, 2)), num_steps=3)
        >>> film = jl.plot.animate(run.draws, energy)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     film.save(f"{folder}/chains.gif", writer="pillow")
    """
    from matplotlib.animation import FuncAnimation

    chains = as_chain_array(draws, plane=True)
    at = as_steps(steps, chains.shape[1])
    check_scalar("seconds", seconds, positive=True)
    trail = check_count("trail", trail, minimum=0)
    span = span_of(chains) if span is None else span
    own = ax is None
    ax = contours(energy, span, temperature=temperature, ax=ax)
    tails = [ax.plot([], [], color=COLORS[0], lw=0.5, alpha=0.5)[0] for _ in chains if trail]
    (points,) = ax.plot([], [], ".", color=COLORS[0], ms=4)

    def show(k: int) -> list[Any]:
        points.set_data(*chains[:, k].T)
        for tail, chain in zip(tails, chains, strict=False):
            tail.set_data(*chain[max(0, k - trail) : k + 1].T)
        ax.set_title(f"after {at[k]:,g} steps")
        return [points, *tails]

    figure = ax.get_figure(root=True)
    assert figure is not None
    if own:  # laid out once, not for every frame
        show(0)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return FuncAnimation(
        figure, show, frames=len(at), interval=1000 * seconds / len(at), repeat=True
    )
