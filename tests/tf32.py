"""The CPU with the products of a card that has TF32, under `pytest --tf32`.

Such a card rounds the float32 factors of a product to 10 bits of mantissa unless the product asks
for full precision. Here so does the CPU, which otherwise ignores what is asked for. A product of
the library itself that doesn't ask is an error, as its rounding may be within what a test allows;
one of a user's energy is the user's. All programs change, so it is for a process of its own.
"""

from pathlib import Path

import jax
from jax import lax
from jax.interpreters import mlir

import jlangevin

JAX, LIBRARY = (Path(module.__file__).parent for module in (jax, jlangevin))
FULL = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)


def install():
    """To be called before anything is compiled."""
    for primitive in (lax.dot_general_p, lax.conv_general_dilated_p):
        # Not cached: where a product stands counts, not only what it is.
        rule = lowering(primitive)
        mlir.register_lowering(primitive, rule, platform="cpu", cacheable=False)


def lowering(primitive):
    for_cpu = mlir._platform_specific_lowerings["cpu"]
    exact = (for_cpu.get(primitive) or mlir._lowerings[primitive]).rule

    def rounded(*factors, **params):
        factors = (lax.reduce_precision(factor, 8, 10) for factor in factors)
        return primitive.bind(*factors, **params | {"precision": FULL})

    def rule(context, *factors, precision, **params):
        if precision == FULL or not jax.numpy.issubdtype(
            context.avals_in[0].dtype, jax.numpy.floating
        ):
            return exact(context, *factors, precision=precision, **params)
        frames = (frame for frame in context.traceback.frames)
        place = next(frame for frame in frames if JAX not in Path(frame.file_name).parents)
        if LIBRARY in Path(place.file_name).parents:
            raise AssertionError(
                f"{place.file_name}:{place.line_num}: a product in precision {precision}; products "
                "of the library are those of jlangevin._arithmetic"
            )
        if any(aval.dtype != "float32" for aval in context.avals_in):
            return exact(context, *factors, precision=precision, **params)
        return mlir.lower_fun(rounded, multiple_results=False)(context, *factors, **params)

    return rule
