"""Every product asks for full precision, without which a card may round its factors to 10 bits.

These tests read the source, and also programs, where JAX's own functions may have products. The
fast tests under `--tf32` show without a card that results are right; see tf32.py.
"""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jlangevin as jl
from jlangevin._core.arithmetic import convolve, einsum, product

PACKAGE = Path(jl.__file__).parent
JAX = ("jnp", "jnp.linalg", "lax", "jax.lax", "jax.numpy")
PRODUCTS = {
    *("cov", "corrcoef", "convolve", "correlate", "conv", "conv_general_dilated", "dot"),
    *("dot_general", "einsum", "inner", "matmul", "matvec", "matrix_power", "multi_dot"),
    *("tensordot", "vdot", "vecdot", "vecmat"),
}


def products_of_their_own(source):
    """The lines with a product that is neither `_core.arithmetic`'s nor NumPy's, on the host."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield node.lineno
        if isinstance(node, ast.Attribute) and node.attr in PRODUCTS:
            of = ast.unparse(node.value)
            if of in JAX or (node.attr == "dot" and of != "np"):
                yield node.lineno


@pytest.mark.parametrize("line", ["a @ b", "a @= b", "jnp.dot(a, b)", "a.dot(b)", "lax.conv(a, b)"])
def test_a_product_of_its_own_is_found(line):
    assert list(products_of_their_own(line)) == [1]


def test_no_module_has_a_product_of_its_own():
    """`jlangevin._core.arithmetic` has the products of JAX's arrays. NumPy's are `np.dot`, except
    in the one module that does linear algebra on the host, and in that with SciPy's sparse ones."""
    sources = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
    for own in ("_core/arithmetic.py", "adaptation/metric.py", "exact/grid/plane/operator.py"):
        del sources[own]
    found = {name: list(products_of_their_own(p.read_text())) for name, p in sources.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def equations(jaxpr):
    """The equations of a program, and of the programs in it."""
    for equation in jaxpr.eqns:
        yield equation
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(part):
                yield from equations(getattr(part, "jaxpr", part))


def is_jaxpr(thing):
    return hasattr(thing, "eqns")


def precisions(function, *args):
    """The precisions of the products of `function` and of its derivative."""

    def total(*args):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(*args)))

    every = range(len(args))
    programs = (jax.make_jaxpr(f)(*args).jaxpr for f in (function, jax.grad(total, argnums=every)))
    return [
        e.params["precision"] for p in programs for e in equations(p) if "precision" in e.params
    ]


FULL = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)
A, X = jnp.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 1.5]]), jnp.array([0.3, -0.7, 0.2])


def mixture(A, x):
    return jl.energies.gaussian_mixture(jnp.stack([x, -x]), jnp.stack([A, A]))


def wide_mixture(x):
    """In too many dimensions to be written out."""
    d = 7
    return jl.energies.gaussian_mixture(jnp.zeros((1, d)), jnp.eye(d)[None])(jnp.full(d, x[0]))


def facts(energy):
    return energy.log_z, energy.mean, energy.cov


def stepped(make):
    """A step, with all else that a kernel does with its position."""

    def moved(A, x):
        kernel, energy = make(A), jl.energies.quadratic(A, x)
        run = jl.sample(
            jax.random.key(0), energy, kernel, x[None], num_steps=1, on_divergence="ignore"
        )
        return run.position

    return moved


def estimator(A):
    return jl.estimators.minibatch(lambda x, a: jnp.sum(a * x**2), A, 2)


FUNCTIONS = {
    "product": product,
    "einsum": lambda A, x: einsum("ij,j", A, x),
    "convolve": lambda A, x: convolve(A[0], x),
    "quadratic": lambda A, x: jl.energies.quadratic(A, x)(2 * x),
    "facts of a quadratic": lambda A, x: facts(jl.energies.quadratic(A, x)),
    "draws of a quadratic": lambda A, x: jl.energies.quadratic(A, x).from_noise(x),
    "mixture": lambda A, x: mixture(A, x)(2 * x),
    "wide mixture": lambda A, x: wide_mixture(x),
    "facts of a mixture": lambda A, x: facts(mixture(A, x)),
    "densities of a mixture": lambda A, x: mixture(A, x).component_log_densities(x),
    "facts of Rosenbrock's": lambda A, x: facts(
        jl.energies.rosenbrock(0.5, jnp.exp(x[None, :2]), block_length=3)
    ),
    "exact.law": lambda A, x: jl.exact.law(
        jl.ula(0.1), jl.energies.quadratic(A, x), jl.Gaussian(x, A), 3
    ),
    "exact.trajectory": lambda A, x: jl.exact.trajectory(
        jl.ula(0.1), jl.energies.quadratic(A, x), jl.Gaussian(x, A), 3
    ),
    "exact.stationary": lambda A, x: jl.exact.stationary(
        jl.underdamped(0.1, 1.0, mass=A), jl.energies.quadratic(A, x), x
    ),
    "exact.target": lambda A, x: jl.exact.target(jl.energies.quadratic(A, x), x),
    "adaptation.step_size_for": lambda A, x: jl.adaptation.step_size_for(
        jl.energies.quadratic(A, x), x, bias=0.1, preconditioner=A
    ),
    "exact.wasserstein2": lambda A, x: jl.exact.wasserstein2(
        jl.Gaussian(x, A), jl.Gaussian(-x, 2 * A)
    ),
    "exact.kl": lambda A, x: jl.exact.kl(jl.Gaussian(x, A), jl.Gaussian(-x, 2 * A)),
    "draws of a Gaussian": lambda A, x: jl.Gaussian(x, A).from_noise(x),
    "densities of a Gaussian": lambda A, x: jl.Gaussian(x, A).log_prob(2 * x),
    "ksd": lambda A, x: jl.diagnostics.ksd(A, jl.energies.quadratic(A, x)),
    "adaptation.curvature": lambda A, x: jl.adaptation.curvature(jl.energies.quadratic(A, x), x),
    "kinetic_temperature": lambda A, x: jl.diagnostics.kinetic_temperature(
        jl.underdamped(0.1, 1.0, mass=A), jl.kernels.UnderdampedState(x, x, None)
    ),
    "configurational_temperature": lambda A, x: jl.diagnostics.configurational_temperature(
        jl.energies.quadratic(A, x), x
    ),
    "ula": stepped(lambda A: jl.ula(0.1, preconditioner=A)),
    "mala": stepped(lambda A: jl.mala(0.1, preconditioner=A)),
    "malt": stepped(lambda A: jl.malt(0.1, 1.0, 2, mass=A)),
    "barker": stepped(lambda A: jl.barker(0.1, preconditioner=A)),
    "microcanonical": stepped(lambda A: jl.microcanonical(0.1, 1.0, preconditioner=A)),
    "adjusted_microcanonical": stepped(
        lambda A: jl.adjusted_microcanonical(0.1, 2, preconditioner=A)
    ),
    "underdamped": stepped(lambda A: jl.underdamped(0.1, 1.0, mass=A)),
    "gradient_noise": stepped(lambda A: jl.gradient_noise(jl.ula(0.1), A)),
    "sghmc": stepped(lambda A: jl.sghmc(0.01, 1.0, estimator(A), gradient_cov=A)),
    "coupled": stepped(lambda A: jl.coupled(jl.mala(0.1, preconditioner=A), 1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_products_of_a_program_are_in_full_precision(name):
    found = precisions(FUNCTIONS[name], A, X)
    assert found
    assert set(found) == {FULL}


def test_a_users_energy_keeps_its_own_precision():
    def law(A, x):
        return jl.exact.law(jl.ula(0.1), lambda y: 0.5 * y @ y, jl.Gaussian(x, A), 3)

    assert set(precisions(law, A, X)) == {None, FULL}


LONG = jnp.full((3, 3), 1 + 2.0**-12)  # 12 bits of mantissa
PAIRS = {
    "matrices": (jnp.matmul, product),
    "convolution": (lambda a, b: jnp.convolve(a[0], b[0]), lambda a, b: convolve(a[0], b[0])),
}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a card may round without being told")
@pytest.mark.parametrize("name", PAIRS)
def test_under_tf32_what_does_not_ask_for_full_precision_is_rounded(name, pytestconfig):
    default, full = (np.asarray(function(LONG, LONG)) for function in PAIRS[name])
    exact = np.asarray(LONG, np.float64)
    exact = np.convolve(exact[0], exact[0]) if name == "convolution" else np.dot(exact, exact)
    np.testing.assert_allclose(full, exact, rtol=1e-7)
    assert np.allclose(default, exact, rtol=1e-7) != pytestconfig.getoption("--tf32")


def test_an_energy_whose_products_are_rounded_is_refused_with_what_to_do(pytestconfig):
    def energy(x):
        return 0.5 * x @ A @ x

    with jax.default_matmul_precision("highest"):
        law = jl.exact.target(energy, X)
    np.testing.assert_allclose(law.cov, np.linalg.inv(np.asarray(A, np.float64)), rtol=1e-5)
    if pytestconfig.getoption("--tf32"):
        with pytest.raises(jl.NotAffineError, match=r"default_matmul_precision\(.highest.\)"):
            jl.exact.target(energy, X)
