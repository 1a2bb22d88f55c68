"""Give the CPU the products of a card that has TF32, under `pytest --tf32`.

Such a card rounds the float32 factors of a product to 10 bits of mantissa unless the product asks
for full precision. Here the CPU does so too; otherwise it ignores what is asked for. All programs
change, so this needs a process of its own.
"""

import jax.numpy as jnp
from jax import lax
from jax.interpreters import mlir

FULL = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)


def install():
    """To be called before anything is compiled."""
    for primitive in (lax.dot_general_p, lax.conv_general_dilated_p):
        mlir.register_lowering(primitive, lowering(primitive), platform="cpu")


def lowering(primitive):
    for_cpu = mlir._platform_specific_lowerings["cpu"]
    as_asked = (for_cpu.get(primitive) or mlir._lowerings[primitive]).rule

    def rounded(*factors, **params):
        factors = (lax.reduce_precision(factor, 8, 10) for factor in factors)
        return primitive.bind(*factors, **params | {"precision": FULL})

    def rule(context, *factors, **params):
        in_float32 = all(aval.dtype == jnp.float32 for aval in context.avals_in)
        if params["precision"] == FULL or not in_float32:
            return as_asked(context, *factors, **params)
        return mlir.lower_fun(rounded, multiple_results=False)(context, *factors, **params)

    return rule
