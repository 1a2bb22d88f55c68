"""Domains: nothing outside in exact arithmetic, nearest points, bounces one by one, mirror maps."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlangevin as jl

pytestmark = pytest.mark.slow

domains = jl.domains

# Each with a draw of points inside. Centre and offset are such that roundings show.
DOMAINS = {
    "box": (lambda: domains.box([-0.1, 0.3, -2.0], [0.7, 0.9, 5.0]), 3),
    "orthant": (lambda: domains.box([0.0, -jnp.inf, -jnp.inf], [jnp.inf, 0.3, jnp.inf]), 3),
    "line": (lambda: domains.ball(0.3, 0.7), 1),
    "ball": (lambda: domains.ball([0.1, -0.2, 0.3], 0.7), 3),
    "far ball": (lambda: domains.ball(100.0, 0.1), 5),
    "half-space": (lambda: domains.half_space([1.0, -2.0, 0.3], 0.1), 3),
    "triangle": (lambda: domains.simplex(), 3),
    "simplex": (lambda: domains.simplex(), 7),
}
NUM = 500


def moves(name, dtype, sizes=(0.1, 1.0, 10.0)):
    """The domain, points inside, not on its boundary, and points anywhere."""
    make, dim = DOMAINS[name]
    domain = make()
    rng = np.random.default_rng(0)
    middle = 100.0 if name == "far ball" else 1 / 7
    unit = 0.1 if name == "far ball" else 1.0
    u = jnp.asarray(middle + unit * rng.normal(size=(NUM, dim)), dtype)
    x = jax.jit(jax.vmap(domain.primal))(u)
    far = unit * rng.choice(sizes, (NUM, 1)) * rng.normal(size=(NUM, dim))
    return domain, x, (x + far).astype(dtype)


def exactly_inside(name, domain, x):
    """In rational arithmetic, with the parameters in the position's dtype."""

    def exact(values):
        values = np.broadcast_to(np.asarray(values), x.shape).astype(x.dtype)
        return [Fraction(float(value)) for value in values]

    point = exact(x)
    if "ball" in name or name == "line":
        radius = Fraction(float(np.asarray(domain.radius, x.dtype)))
        center = exact(domain.center)
        return sum((a - b) ** 2 for a, b in zip(point, center, strict=True)) <= radius**2
    if name == "half-space":
        offset = Fraction(float(np.asarray(domain.offset, x.dtype)))
        return sum(a * b for a, b in zip(point, exact(domain.normal), strict=True)) <= offset
    if name in ("simplex", "triangle"):
        off = abs(sum(point) - 1)
        return min(point) >= 0 and off <= len(point) * Fraction(float(np.finfo(x.dtype).eps))
    return bool(np.all((np.asarray(domain.lower, x.dtype) <= x) & (x <= np.asarray(domain.upper))))


@pytest.mark.parametrize("name", DOMAINS)
def test_nothing_is_outside_in_exact_arithmetic(name, dtype):
    domain, x, y = moves(name, dtype, (0.1, 1.0, 10.0, 1e6))

    @jax.jit
    @jax.vmap
    def everything(x, y):
        ends = domain.project(y), domain.reflect(x, y)[0], domain.primal(y)
        return ends, jax.tree.map(domain.contains, ends), domain.project(ends[0])

    ends, said, again = everything(x, y)
    for points, inside in zip(ends, said, strict=True):
        assert points.dtype == dtype
        assert bool(inside.all())
        assert all(exactly_inside(name, domain, point) for point in np.asarray(points))
    np.testing.assert_allclose(again, ends[0], rtol=0, atol=4 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("name", DOMAINS)
def test_inside_and_outside_are_told_apart(name):
    domain, x, y = moves(name, np.float32, (1.0,))
    assert bool(jax.vmap(domain.contains)(x).all())
    inside = np.asarray(jax.vmap(domain.contains)(y))
    expected = [exactly_inside(name, domain, point) for point in np.asarray(y)]
    np.testing.assert_array_equal(inside, expected)
    assert not inside.all()


@pytest.mark.parametrize("name", DOMAINS)
def test_a_projection_is_the_nearest_point(name, dtype):
    """(y - P)·(z - P) ≤ 0 for every z inside, which holds only for the nearest point P of a convex
    set. Points well inside stay as they are, to the last bit."""
    domain, x, y = moves(name, dtype)
    nearest = np.asarray(jax.jit(jax.vmap(domain.project))(y), np.float64)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if name in ("simplex", "triangle"):
        y = y - (y.sum(axis=1, keepdims=True) - 1) / y.shape[1]
    angle = np.einsum("id,ijd->ij", y - nearest, x[None, :50] - nearest[:, None])
    scale = np.linalg.norm(y - nearest, axis=1) + 1
    roundings = {"far ball": 1e3, "half-space": 3e3}.get(name, 100)  # and how far walls move
    assert np.max(angle / scale[:, None]) < roundings * float(jnp.finfo(dtype).eps)
    if name not in ("simplex", "triangle"):
        deep = jnp.asarray(x + 0.01 * (x.mean(axis=0) - x), dtype)
        np.testing.assert_array_equal(jax.jit(jax.vmap(domain.project))(deep), deep)


# Billiards ----------------------------------------------------------------------------------


def bounced(first_wall, x, y):
    """Bounce by bounce: `first_wall(x, move)` says when a wall is hit, and its inner normal."""
    move, left, number = y - x, 1.0, 0
    while True:
        time, normal = first_wall(x, move)
        if time >= left:
            return x + left * move, move, number
        x = x + time * move
        n = normal(x)
        move, left, number = move - 2 * (move @ n) * n, left - time, number + 1


def walls_of_box(low, high):
    def first(x, move):
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(move > 0, (high - x) / move, np.where(move < 0, (low - x) / move, 9.0))
        i = np.argmin(times)
        return times[i], lambda x: np.eye(len(x))[i]

    return first


def wall_of_ball(center, radius):
    def first(x, move):
        v, a = x - center, move @ move
        root = np.sqrt((v @ move) ** 2 - a * (v @ v - radius**2))
        return (root - v @ move) / a, lambda x: (x - center) / np.linalg.norm(x - center)

    return first


def walls_of_triangle():
    """In two coordinates of the plane: an orthonormal basis, and three lines."""
    corners = np.eye(3)
    basis = np.linalg.svd(corners - corners.mean(axis=0))[2][:2]
    plane = (corners - 1 / 3) @ basis.T
    lines = []
    for i in range(3):
        a, b = plane[(i + 1) % 3], plane[(i + 2) % 3]
        along = (b - a) / np.linalg.norm(b - a)
        inner = plane[i] - a
        inner -= (inner @ along) * along
        lines.append((a, inner / np.linalg.norm(inner)))

    def first(x, move):
        hits = [
            (max(-((x - a) @ n) / (move @ n), 0.0), n) if move @ n < 0 else (9.0, n)
            for a, n in lines
        ]
        time, normal = min(hits, key=lambda hit: hit[0])
        return time, lambda x: normal

    return basis, first


@pytest.mark.parametrize("name", ["box", "orthant", "line", "ball", "half-space", "triangle"])
def test_a_move_is_reflected_bounce_by_bounce(name, x64):
    domain, x, y = moves(name, np.float64, (0.3, 1.0, 4.0))
    ends, turned = map(np.asarray, jax.jit(jax.vmap(domain.reflect))(x, y))
    most = 0
    for start, target, end, after in zip(*map(np.asarray, (x, y)), ends, turned, strict=True):
        if name in ("box", "orthant"):
            walls = walls_of_box(np.asarray(domain.lower), np.asarray(domain.upper))
        elif name == "half-space":
            a, b = np.asarray(domain.normal), domain.offset
            n = a / np.linalg.norm(a)

            def walls(x, move, a=a, b=b, n=n):
                time = (b - a @ x) / (a @ move) if a @ move > 0 else 9.0
                return time, lambda x: n
        elif name == "triangle":
            basis, in_plane = walls_of_triangle()
            expected, direction, number = bounced(
                in_plane, basis @ (start - 1 / 3), basis @ (target - 1 / 3)
            )
            expected, direction = 1 / 3 + expected @ basis, direction @ basis
        else:
            walls = wall_of_ball(np.asarray(domain.center), domain.radius)
        if name != "triangle":
            expected, direction, number = bounced(walls, start, target)
        np.testing.assert_allclose(end, expected, atol=1e-9)
        np.testing.assert_allclose(after, direction, atol=1e-8)
        most = max(most, number)
    assert most >= {"half-space": 1, "orthant": 2}.get(name, 8)


@pytest.mark.parametrize("name", DOMAINS)
def test_a_reflected_move_keeps_its_length_and_leads_back(name, x64):
    domain, x, y = moves(name, np.float64, (0.1, 1.0))
    end, turned = jax.jit(jax.vmap(domain.reflect))(x, y)
    back, again = jax.jit(jax.vmap(domain.reflect))(end, end - turned)
    move = y - x
    if name in ("simplex", "triangle"):
        move = move - move.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        jnp.linalg.norm(turned, axis=1), jnp.linalg.norm(move, axis=1), rtol=1e-10
    )
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(again, -move, atol=1e-6)


def test_a_move_with_too_many_bounces_is_held(dtype):
    """A path of length 10⁴ in a triangle; held, it leads back to itself."""
    domain = domains.simplex()
    x, y = jnp.array([0.2, 0.3, 0.5], dtype), jnp.array([1e4, 2e4, 0.0], dtype)
    end, turned = domain.reflect(x, y)
    np.testing.assert_allclose(end, x, rtol=1e-6)
    np.testing.assert_allclose(turned, -(y - x) + jnp.mean(y - x), rtol=1e-6)


@pytest.mark.parametrize("name", DOMAINS)
def test_what_is_not_a_number_stays_so(name):
    domain, x, _ = moves(name, np.float32)
    bad = x[0].at[0].set(jnp.nan)

    @jax.jit
    def all_of(x, bad):
        made = domain.project(bad), domain.reflect(x, bad)[0], domain.primal(bad)
        return domain.contains(bad), jax.tree.map(lambda x: jnp.isnan(x).any(), made)

    inside, lost = all_of(x[0], bad)
    assert not bool(inside)
    assert all(map(bool, lost))


# Mirror maps --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_the_mirror_map_is_a_gradient_with_the_stated_volume(name, x64):
    """Its Jacobian is symmetric and positive, which makes it the gradient of a convex function;
    that of the simplex is so only within the plane."""
    domain = DOMAINS[name][0]()
    rng = np.random.default_rng(1)
    dim = DOMAINS[name][1]
    center, scale = (100.0, 0.1) if name == "far ball" else (0.0, 2.0)
    points = jnp.asarray(center + scale * rng.normal(size=(20, dim)))
    log_dets = jax.jit(domain.log_det)
    jacobians = jax.jit(jax.vmap(jax.jacfwd(domain.primal)))(points)
    for u, jacobian in zip(points, np.asarray(jacobians), strict=True):
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
        values = np.linalg.eigvalsh(jacobian)
        log_det = float(log_dets(u))
        if name in ("simplex", "triangle"):
            np.testing.assert_allclose(jacobian.sum(axis=0), 0, atol=1e-12)
            values, log_det = values[1:], log_det + float(jnp.sum(u) ** 2) / (2 * dim)
        assert values.min() > 0
        np.testing.assert_allclose(np.sum(np.log(values)), log_det, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DOMAINS)
def test_dual_is_the_inverse_of_primal(name, x64):
    domain = DOMAINS[name][0]()
    rng = np.random.default_rng(2)
    center, scale = (100.0, 0.1) if name == "far ball" else (0.0, 1.0)
    u = jnp.asarray(center + scale * rng.normal(size=(50, DOMAINS[name][1])))
    again = jax.jit(jax.vmap(domain.dual))(jax.jit(jax.vmap(domain.primal))(u))
    expected = u - u.mean(axis=1, keepdims=True) if name in ("simplex", "triangle") else u
    np.testing.assert_allclose(again, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["ball", "line"])
def test_the_balls_map_is_smooth_at_the_centre(name, dtype):
    domain = DOMAINS[name][0]()
    at = jnp.broadcast_to(domain.center, (DOMAINS[name][1],)).astype(dtype)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(domain.primal))(at), np.eye(at.size), atol=1e-6)
    gradient = jax.jit(jax.grad(domain.log_det))
    np.testing.assert_array_equal(gradient(at), 0)
    for small in (1e-3, 1e-2, 0.03, 0.1):  # on both sides of where the series ends
        u = at.at[0].add(small * domain.radius)
        s = float((u - at)[0] / domain.radius)
        slope = -2 * np.tanh(s) + (at.size - 1) * (1 / np.tanh(s) - np.tanh(s) - 1 / s)
        found = float(gradient(u)[0]) * float(domain.radius)
        np.testing.assert_allclose(found, slope, rtol=1e-4 if dtype == jnp.float32 else 1e-7)


# Boxes around pytrees -----------------------------------------------------------------------


def test_a_box_around_a_pytree_is_one_around_each_leaf(dtype):
    tree = domains.box({"a": 0.0, "b": jnp.array([-1.0, 0.0])}, {"a": jnp.inf, "b": 2.0})
    flat = domains.box([0.0, -1.0, 0.0], [jnp.inf, 2.0, 2.0])
    x, y = jnp.array([0.5, 0.5, 1.5], dtype), jnp.array([-2.0, 9.5, -3.25], dtype)

    def part(v):
        return {"a": v[0], "b": v[1:]}

    for name in ("project", "primal"):
        for a, b in zip(
            jax.tree.leaves(getattr(tree, name)(part(y))),
            jax.tree.leaves(part(getattr(flat, name)(y))),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    for found, expected in zip(tree.reflect(part(x), part(y)), flat.reflect(x, y), strict=True):
        np.testing.assert_array_equal(found["b"], part(expected)["b"])
    np.testing.assert_allclose(tree.log_det(part(y)), flat.log_det(y), rtol=1e-6)
    np.testing.assert_array_equal(tree.dual(part(x))["b"], flat.dual(x)[1:])
    assert bool(tree.contains(part(x)))
    assert not bool(tree.contains(part(y)))


# Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: domains.box(1.0, 1.0), "lower: expected bounds below upper"),
        (lambda: domains.box([0.0, 2.0], 1.0), "lower: expected bounds below upper"),
        (lambda: domains.box(0.0, [1.0, -1.0]), "lower: expected bounds below upper"),
        (lambda: domains.box(jnp.nan, 1.0), "lower: expected bounds, got NaN"),
        (
            lambda: domains.box({"a": 0.0, "b": 0.0, "c": 0.0}, {"a": 1.0, "b": 1.0}),
            "upper: 2 leaves",
        ),
        (lambda: domains.box({"a": 0.0}, 1.0).project(jnp.zeros(3)), "lower: .* does not fit"),
        (lambda: domains.ball(0.0, 0.0), "radius: expected values above zero"),
        (lambda: domains.ball(jnp.inf, 1.0), "center: expected finite values"),
        (lambda: domains.half_space([0.0, 0.0], 1.0), "normal: expected a direction"),
        (lambda: domains.half_space([1.0, 0.0], jnp.nan), "offset: expected finite values"),
        (lambda: domains.box([0.0, 0.0], 1.0).project(jnp.zeros(3)), "lower: shape"),
        (lambda: domains.ball([0.0, 0.0], 1.0).project(jnp.zeros(3)), "center: shape"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["ball", "half-space", "simplex"])
def test_all_but_boxes_take_a_single_array(name):
    with pytest.raises(TypeError, match="position: this domain needs a single array"):
        DOMAINS[name][0]().project({"a": jnp.zeros(3)})


@pytest.mark.parametrize(
    ("domain", "error"),
    [
        (jl.domains.box(jnp.zeros(2), 1.0), ValueError),
        (jl.domains.ball(jnp.zeros(2), 1.0), ValueError),
        (jl.domains.half_space(jnp.ones(2), 1.0), ValueError),
        (jl.domains.simplex(), TypeError),
    ],
    ids=["box", "ball", "half-space", "simplex"],
)
def test_many_positions_are_not_taken_for_one(domain, error):
    """By domains that know the shape of a position; those made of numbers alone do not."""
    x = jnp.full((2, 2), 0.25)
    for function in (domain.contains, domain.project, domain.primal, domain.log_det):
        with pytest.raises(error, match=r"jax\.vmap|position: .* dimension"):
            function(x)
        assert jax.vmap(function)(x).shape[0] == 2


def test_what_is_not_a_domain_is_refused():
    for make in (
        lambda: jl.projected(0.1, None),
        lambda: jl.reflected(0.1, "box"),
        lambda: jl.reflected_mala(0.1, 1.0),
        lambda: jl.mirrored(jl.mala(0.1), lambda x: x),
        lambda: domains.confine(lambda x: x, None),
    ):
        with pytest.raises(TypeError, match=r"domain: .* is not a domain"):
            make()
    with pytest.raises(TypeError, match="no move in space ends on a simplex"):
        domains.confine(jnp.sum, domains.simplex())
