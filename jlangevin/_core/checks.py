"""Checks of arguments. Each error names the argument, says what was given, and what to do."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import KeyPath
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import NDArray

from jlangevin._core import trees
from jlangevin._core.each import Each
from jlangevin._core.trees import PyTree

__all__ = [
    "as_array",
    "as_draws",
    "as_draws_array",
    "as_host",
    "check_count",
    "check_finite",
    "check_flag",
    "check_increasing",
    "check_key",
    "check_known",
    "check_made",
    "check_no_half",
    "check_no_run",
    "check_not_negative",
    "check_number",
    "check_positive",
    "check_probability",
    "check_scalar",
    "check_spd",
    "check_temperature",
    "check_tree",
    "check_width",
    "or_nan",
]

T = TypeVar("T")


def check_key(name: str, key: object) -> None:
    """Raise unless `key` is a single typed Threefry key, and say how to get one."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        legacy = getattr(key, "dtype", None) == jnp.uint32 and getattr(key, "shape", None) == (2,)
        hint = (
            "this is a legacy uint32 key; wrap it with jax.random.wrap_key_data(key)"
            if legacy
            else f"got {type(key).__name__}"
        )
        raise TypeError(f"{name}: expected a typed key, as jax.random.key(seed) makes it; {hint}")
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


def check_made(name: str, value: object) -> None:
    """Raise TypeError if a class or factory of this library was given instead of its result."""
    if isinstance(value, type):
        kind = "class"
    elif isinstance(value, types.FunctionType) and _is_ours(value):
        kind = "function"
    else:
        return
    raise TypeError(
        f"{name}: got the {kind} {value.__name__} itself, not what it makes; call it: "
        f"{value.__name__}({_required(value)})"
    )


def _is_ours(function: types.FunctionType) -> bool:
    """Whether a module of this library has it by name: closures and a user's own are not so."""
    home = function.__module__ or ""
    return (
        home.startswith("jlangevin.")
        and getattr(sys.modules.get(home), function.__name__, None) is function
    )


def _required(function: Callable[..., object]) -> str:
    """The required arguments, as they are written in a call."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return "…"
    return ", ".join(
        f"{p.name}=…" if p.kind is p.KEYWORD_ONLY else p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )


def check_tree(name: str, value: PyTree) -> None:
    """Raise ValueError for a container that JAX cannot flatten."""
    try:
        jax.tree.structure(value)
    except ValueError as error:
        raise ValueError(
            f"{name}: JAX sorts the keys of a dict, and cannot sort these ({error}); use keys of "
            "one type, for instance strings"
        ) from None


def check_no_half(
    name: str, dtype: DTypeLike, why: str = "in which no matrix can be factorised"
) -> None:
    """Raise TypeError for half precision; `why` says what it does not suffice for."""
    if jnp.finfo(dtype).bits < 32:
        raise TypeError(
            f"{name}: expected float32 or float64, got {jnp.dtype(dtype).name}, {why}; pass "
            "x.astype(jnp.float32)"
        )


def check_width(**values: PyTree) -> None:
    """Raise TypeError for 64-bit JAX arrays that were made while x64 was enabled."""
    for name, value in values.items():
        for leaf in jax.tree.leaves(value):
            inexact = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
            if inexact and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
                raise TypeError(
                    f"{name}: holds {leaf.dtype}, made while x64 was enabled, which it no longer "
                    'is; enable it again, jax.config.update("jax_enable_x64", True), or make the '
                    "arrays again in float32"
                )


def check_known(why: str, **values: PyTree) -> None:
    """Raise TypeError for traced values where numbers are needed; `why` gives the reason."""
    for name, value in values.items():
        if not trees.is_concrete(value):
            raise TypeError(
                f"{name}: its values are not known under jit, vmap or grad, but {why}; call this "
                "outside of them"
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


def check_flag(name: str, value: object, *, also: str = "") -> bool:
    """`value` as a bool; strings and numbers are refused, as Python calls most of them true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False{also}, got {value!r}")
    return bool(value)


def or_nan(value: T, good: Callable[[Any, T], Any], refusal: Callable[[], Exception]) -> T:
    """Return `value` if it is good, else raise `refusal()`; for traced values return NaN instead.

    This is the one place that decides what happens to a value that is not known yet.
    `good(xp, value)` returns a boolean scalar; xp is `numpy`, or `jax.numpy` for traced values.
    """
    if trees.is_concrete(value):
        if not bool(good(np, jax.tree.map(np.asarray, value))):
            raise refusal()
        return value
    # The answer is yes or no, so nothing in it is differentiated, such as a Cholesky factor.
    fine = jnp.asarray(good(jnp, jax.tree.map(lambda x: lax.stop_gradient(jnp.asarray(x)), value)))

    def keep(leaf: ArrayLike) -> jax.Array:
        leaf = jnp.asarray(leaf)
        leaf = leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)
        return jnp.where(jnp.broadcast_to(fine, leaf.shape), leaf, jnp.nan)

    kept: T = jax.tree.map(keep, value)
    return kept


_FINITE = {"finite values": lambda xp, x: xp.isfinite(x)}
_POSITIVE = {**_FINITE, "values above zero": lambda xp, x: x > 0}
_NOT_NEGATIVE = {**_FINITE, "values of zero or more": lambda xp, x: x >= 0}


def check_finite(name: str, value: T) -> T:
    """`value`, or an error if a leaf is not finite."""
    return _check_leaves(name, value, _FINITE)


def check_positive(name: str, value: T) -> T:
    """`value`, or an error if a leaf is not finite and above zero."""
    return _check_leaves(name, value, _POSITIVE)


def check_not_negative(name: str, value: T) -> T:
    """`value`, or an error if a leaf is not finite and zero or above."""
    return _check_leaves(name, value, _NOT_NEGATIVE)


def _check_leaves(name: str, value: T, wanted: dict[str, Callable[[Any, Any], Any]]) -> T:
    def one(path: KeyPath[Any], leaf: ArrayLike) -> ArrayLike:
        def refusal() -> Exception:
            x = np.asarray(leaf)
            first = next(what for what, good in wanted.items() if not np.all(good(np, x)))
            where = name + jax.tree_util.keystr(path)
            return ValueError(f"{where}: expected {first}, got {_shown_values(leaf)}")

        def good(xp: Any, x: Any) -> Any:
            return functools.reduce(operator.and_, (xp.all(f(xp, x)) for f in wanted.values()))

        return or_nan(leaf, good, refusal)

    checked: T = jax.tree_util.tree_map_with_path(one, value)
    return checked


def check_increasing(
    name: str, array: T, expected: str, *, minimum: int = 1, above: float = -np.inf
) -> T:
    """`array`, or an error unless it has `minimum` finite entries or more, in increasing order.

    `expected` describes it in the error. The first entry must be `above` or more.
    """
    array = check_finite(name, array)

    def rising(xp: Any, x: Any) -> Any:
        return (len(x) >= minimum) & xp.all(xp.diff(x) > 0) & xp.all(x[:1] >= above)

    def refusal() -> Exception:
        shown = np.array2string(np.asarray(array), separator=", ", threshold=8)
        return ValueError(f"{name}: expected {expected}, each above the one before; got {shown}")

    return or_nan(array, rising, refusal)


def check_number(name: str, value: PyTree) -> None:
    """Raise unless `value` is one real number; a boolean or an array of one number is not."""
    if not trees.is_array(value) or not _is_real(value):
        raise TypeError(f"{name}: expected a real number, {_got(value)}")
    if jnp.shape(value) != ():
        raise ValueError(
            f"{name}: expected a scalar, got shape {jnp.shape(value)}; use jax.vmap for many values"
        )


def _got(value: object) -> str:
    """`value` as the end of an error, which says that a number of all chains is what is wanted."""
    if isinstance(value, Each):
        return "which cannot differ from chain to chain; got each(…)"
    return f"got {value!r}"


def _is_real(value: object) -> bool:
    """Whether `value` has a real dtype, which booleans of NumPy and JAX do not."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return not isinstance(value, complex)
    return bool(jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer))


def check_scalar(name: str, value: Any, *, positive: bool = False) -> Any:
    """`value`, or an error unless it is a finite real number, above zero if `positive`.

    Arrays and booleans are refused. Python's integers, which may be of any size, become floats.
    """
    check_number(name, value)
    if isinstance(value, int):
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"{name}: expected a number that a float can hold") from None
    return (check_positive if positive else check_finite)(name, value)


def check_probability(name: str, value: PyTree) -> float:
    """`value` as a float strictly between 0 and 1."""
    check_known("this is decided on the host", **{name: value})
    if not trees.is_array(value) or not _is_real(value) or jnp.shape(value) != ():
        raise TypeError(f"{name}: expected a probability in (0, 1), got {value!r}")
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected a probability in (0, 1), got {value}")
    return float(value)


def check_temperature(temperature: ArrayLike, dtype: DTypeLike) -> jax.Array:
    """T > 0 as an array."""
    return jnp.asarray(check_scalar("temperature", temperature, positive=True), dtype)


def check_spd(name: str, matrix: jax.Array, *, semidefinite: bool = False) -> jax.Array:
    """`matrix`, or an error unless it is square, symmetric and positive (semi-)definite."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {matrix.shape}")
    if not trees.is_concrete(matrix):
        return or_nan(matrix, functools.partial(_is_spd, semidefinite=semidefinite), ValueError)
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
    return matrix


def _is_spd(_: Any, matrix: jax.Array, *, semidefinite: bool) -> jax.Array:
    """The same test for a traced matrix, by Cholesky in its own precision.

    If `semidefinite`, an eigenvalue counts as negative only if it is below zero by more than
    rounding.
    """
    values = trees.at_least_float32(matrix)
    eps, size = float(jnp.finfo(matrix.dtype).eps), jnp.max(jnp.abs(values), initial=0.0)
    symmetric = jnp.all(jnp.abs(values - values.T) <= 100 * eps * size)
    if semidefinite:
        rounding = max(100, len(values)) * eps * size + float(jnp.finfo(values.dtype).tiny)
        values = values + rounding * jnp.eye(len(values), dtype=values.dtype)
    return symmetric & jnp.all(jnp.isfinite(jnp.linalg.cholesky(values)))


def _is_definite(values: NDArray[np.float64]) -> bool:
    """Whether a symmetric matrix is positive definite, judged by its correlation matrix.

    Correlations have no units. With variances 1e-12 and 1e12, the smaller eigenvalue of the
    covariance itself would be rounding.
    """
    variances = np.diagonal(values)
    if not (variances > 0).all():
        return False
    root = np.sqrt(variances)
    return bool((np.linalg.eigvalsh(values / root / root[:, None]) > 0).all())


def as_array(name: str, value: PyTree, *, ndim: int | None = None) -> jax.Array:
    """`value` as a floating array, integers converted to the default float dtype."""
    if isinstance(value, Each):
        raise TypeError(f"{name}: expected an array of numbers, {_got(value)}")
    value = trees.own(name, value)
    try:
        if any(isinstance(leaf, str | bytes) for leaf in jax.tree.leaves(value)):
            raise TypeError("it holds text")  # JAX would take strings for names of dtypes
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        what = f"dtype {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
        if isinstance(value, list | tuple):
            what += f" ({str(error).splitlines()[0]})"
        raise TypeError(f"{name}: expected an array of numbers, got {what}") from None
    if not jnp.issubdtype(array.dtype, jnp.floating):
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
        array = array.astype(float)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    return array


def as_host(name: str, value: PyTree) -> NDArray[Any]:
    """`value` as real numbers on the host, in their own precision."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        as_array(name, value)  # raises, unless these are floats that only JAX has
    return array


def as_draws(name: str, value: PyTree, *, minimum: int = 1) -> jax.Array:
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
    return trees.at_least_float32(x)


def as_draws_array(name: str, value: PyTree) -> jax.Array:
    """Draws as one floating array, or an error that says what to pass instead of a pytree."""
    check_no_run(name, value, "run.draws")
    if isinstance(value, dict) or (not isinstance(value, list) and not trees.is_array(value)):
        raise TypeError(
            f"{name}: expected one array, got {trees.shown(value)}; pass one leaf, or all leaves "
            "side by side: jax.vmap(jax.vmap(lambda draw: ravel_pytree(draw)[0]))(draws), "
            "with ravel_pytree from jax.flatten_util"
        )
    return as_array(name, value)


def check_no_run(name: str, value: object, instead: str) -> None:
    """Raise TypeError for a whole `Run`, and for None, its draws if it kept none."""
    if hasattr(value, "draws"):
        raise TypeError(f"{name}: got a {type(value).__name__}; pass {instead}")
    if value is None:
        raise TypeError(f"{name}: got None; a run with observe=None keeps no draws")


def _shown_values(leaf: ArrayLike) -> str:
    array = np.asarray(leaf)
    return f"{array}" if array.size <= 8 else f"an array of shape {array.shape} with such entries"
