"""Checks of arguments: each error names the argument, what was given, and what to do."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jlangevin import trees

__all__ = [
    "as_array",
    "as_draws",
    "as_draws_array",
    "check_count",
    "check_finite",
    "check_key",
    "check_no_run",
    "check_positive",
    "check_probability",
    "check_scalar",
    "check_spd",
    "check_temperature",
]


def check_key(name: str, key: Any) -> None:
    """A single typed Threefry key, or an error that says how to get one."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        legacy = getattr(key, "dtype", None) == jnp.uint32 and getattr(key, "shape", None) == (2,)
        hint = (
            "this is a legacy uint32 key; wrap it with jax.random.wrap_key_data(key)"
            if legacy
            else f"got {type(key).__name__}"
        )
        raise TypeError(f"{name}: expected a typed key, as jax.random.key(seed) makes; {hint}")
    impl = str(jax.random.key_impl(key))
    if impl != "threefry2x32":
        raise TypeError(
            f"{name}: expected a threefry2x32 key, got {impl}; make it with "
            'jax.random.key(seed, impl="threefry2x32")'
        )
    if key.shape != ():
        raise ValueError(
            f"{name}: expected one key, got an array of keys of shape {key.shape}; "
            "use jax.vmap to run over many keys"
        )


def check_count(name: str, value: Any, *, minimum: int) -> int:
    """`value` as an int of at least `minimum`."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if count < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {count}")
    return count


def check_finite(name: str, value: Any) -> None:
    """Every leaf finite, where the values are known."""
    for leaf in jax.tree.leaves(value):
        if trees.is_concrete(leaf) and not bool(np.all(np.isfinite(leaf))):
            raise ValueError(f"{name}: expected finite values, got {_show(leaf)}")


def check_positive(name: str, value: Any) -> None:
    """Every leaf finite and above zero, where the values are known."""
    check_finite(name, value)
    for leaf in jax.tree.leaves(value):
        if trees.is_concrete(leaf) and not bool(np.all(np.asarray(leaf) > 0)):
            raise ValueError(f"{name}: expected values above zero, got {_show(leaf)}")


def check_scalar(name: str, value: Any, *, positive: bool = False) -> None:
    """A real number, finite and perhaps above zero where it is known; arrays are refused."""
    if not trees.is_array(value) or jnp.iscomplexobj(value):
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    if jnp.shape(value) != ():
        raise ValueError(
            f"{name}: expected a scalar, got shape {jnp.shape(value)}; use jax.vmap for many values"
        )
    (check_positive if positive else check_finite)(name, value)


def check_probability(name: str, value: Any) -> float:
    """`value` as a float strictly between 0 and 1."""
    if not trees.is_array(value) or jnp.iscomplexobj(value) or jnp.shape(value) != ():
        raise TypeError(f"{name}: expected a probability in (0, 1), got {value!r}")
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected a probability in (0, 1), got {value}")
    return float(value)


def check_temperature(temperature: Any, dtype: Any) -> jax.Array:
    """T > 0 as an array."""
    check_scalar("temperature", temperature, positive=True)
    return jnp.asarray(temperature, dtype)


def check_spd(name: str, matrix: jax.Array, *, semidefinite: bool = False) -> None:
    """A square, symmetric, positive (semi-)definite matrix; values only where they are known."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {matrix.shape}")
    if not trees.is_concrete(matrix):
        return
    check_finite(name, matrix)
    values = np.asarray(matrix, np.float64)
    tolerance = 100 * float(jnp.finfo(matrix.dtype).eps) * float(np.max(np.abs(values), initial=0))
    asymmetry = float(np.max(np.abs(values - values.T), initial=0))
    if asymmetry > tolerance:
        raise ValueError(
            f"{name}: not symmetric (largest difference {asymmetry:.3g}); pass (A + A.T) / 2"
        )
    smallest = float(np.min(np.linalg.eigvalsh(values), initial=np.inf))
    if smallest < -tolerance if semidefinite else not _is_definite(values):
        kind = "semi-definite" if semidefinite else "definite"
        raise ValueError(f"{name}: not positive {kind} (smallest eigenvalue {smallest:.3g})")


def _is_definite(values: np.ndarray[Any, Any]) -> bool:
    """Of a symmetric matrix. It is asked of its correlations, which have no units: of variances
    1e-12 and 1e12 the smaller eigenvalue would be rounding."""
    variances = np.diagonal(values)
    if not (variances > 0).all():
        return False
    root = np.sqrt(variances)
    return bool((np.linalg.eigvalsh(values / root / root[:, None]) > 0).all())


def as_array(name: str, value: Any, *, ndim: int | None = None) -> jax.Array:
    """`value` as a floating array, integers converted to the default float dtype."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}: {error}") from None
    if not jnp.issubdtype(array.dtype, jnp.floating):
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
        array = array.astype(float)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    return array


def as_draws(name: str, value: Any, *, minimum: int = 1) -> jax.Array:
    """`value` as finite floats of at least 32 bits with axes (draw, d) or (chain, draw, d)."""
    x = as_draws_array(name, value)
    if x.ndim not in (2, 3):
        hint = f"; for one dimension, {name}[..., None]" if x.ndim == 1 else ""
        raise ValueError(
            f"{name}: expected shape (draw, d) or (chain, draw, d), got shape {x.shape}{hint}"
        )
    if x.shape[-1] == 0 or x.size // x.shape[-1] < minimum:
        raise ValueError(f"{name}: expected at least {minimum} draw(s), got shape {x.shape}")
    check_finite(name, x)
    return trees.wide(x)


def as_draws_array(name: str, value: Any) -> jax.Array:
    """Draws as one floating array, or an error that says what to give instead of a pytree."""
    check_no_run(name, value, "run.draws")
    if isinstance(value, dict) or (not isinstance(value, list) and not trees.is_array(value)):
        raise TypeError(
            f"{name}: expected one array, got {trees.shown(value)}; give one leaf of it, or all of "
            "them side by side: jax.vmap(jax.vmap(lambda draw: ravel_pytree(draw)[0]))(draws), "
            "with ravel_pytree from jax.flatten_util"
        )
    return as_array(name, value)


def check_no_run(name: str, value: Any, instead: str) -> None:
    """Raise TypeError for a whole `Run`, and for the draws that it did not keep."""
    if hasattr(value, "draws"):
        raise TypeError(f"{name}: got a {type(value).__name__}; pass {instead}")
    if value is None:
        raise TypeError(f"{name}: got None, which is what a run under observe=None keeps of draws")


def _show(leaf: Any) -> str:
    array = np.asarray(leaf)
    return f"{array}" if array.size <= 8 else f"an array of shape {array.shape} with such entries"
