"""How the chains are spread over devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jlangevin._core import trees
from jlangevin._core.trees import PyTree
from jlangevin.sampling.state import SamplerState, Setup, Tally

__all__ = ["Layout", "as_layout", "has_accelerators", "is_accelerator"]

R = TypeVar("R")


class Layout(NamedTuple):
    """A mesh, and the axes of it that the chains are spread over; without a mesh, one device."""

    mesh: Mesh | None = None
    axes: tuple[str, ...] = ()

    @property
    def each(self) -> PartitionSpec:
        """The specification of arrays whose first axis counts chains."""
        return PartitionSpec(self.axes)

    @property
    def whole(self) -> PartitionSpec:
        """The specification of arrays that belong to the whole run: a copy on every device."""
        return PartitionSpec()

    @property
    def num_devices(self) -> int:
        return math.prod(self.mesh.shape[name] for name in self.axes) if self.mesh else 1

    @property
    def state(self) -> SamplerState:
        """The specifications of the leaves of a state."""
        each: Any = self.each
        whole: Any = self.whole
        return SamplerState(each, whole, each, Tally(whole, whole, each, each, each), each)

    @property
    def setup(self) -> Setup:
        """The specifications of the leaves of a setup."""
        each: Any = self.each
        whole: Any = self.whole
        return Setup(whole, whole, whole, whole, each)

    def place_setup(self, setup: Setup) -> Setup:
        """`setup` on the devices, with the rows of each chain where the chain is."""
        rows = self.place(setup.rows, chains=True)
        return setup._replace(
            energy=self.place(setup.energy),
            kernel=self.place(setup.kernel),
            reducers=self.place(setup.reducers),
            observe=self.place(setup.observe),
            rows=rows,
        )

    def spread(
        self, function: Callable[..., R], in_specs: PyTree, out_specs: PyTree
    ) -> Callable[..., R]:
        """`function` on every device with its own chains, without communication."""
        if self.mesh is None:
            return function
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def place(self, tree: PyTree, *, chains: bool = False) -> PyTree:
        """`tree` on the devices: split by chains, or a copy on each.

        In a run of several processes each passes the same `tree`, or its part of a global array.
        """
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, self.each if chains else self.whole)

        def put(leaf: jax.Array) -> jax.Array:
            if not trees.is_concrete(leaf):
                return leaf
            leaf = jnp.asarray(leaf)
            if sharding.is_fully_addressable or not leaf.is_fully_addressable:
                return jax.device_put(leaf, sharding)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(
                    put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
                )
            values = np.asarray(leaf)
            return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

        return jax.tree.map(put, tree)

    def device(self, placed: jax.Array) -> jax.Device:
        """One of this process's devices that the run will use."""
        return self.mesh.local_devices[0] if self.mesh else next(iter(placed.devices()))


def is_accelerator(device: jax.Device) -> bool:
    """Whether programs for a device are laid out as a card wants them."""
    return device.platform != "cpu"


def has_accelerators() -> bool:
    """Whether a program may be made for one."""
    return any(map(is_accelerator, jax.devices()))


def as_layout(sharding: Mesh | NamedSharding | None, chained: PyTree, num_chains: int) -> Layout:
    """The layout that `sharding` asks for, or else that of the chains in `chained`."""
    if sharding is None:
        sharding = _sharding_of(chained)
    if sharding is None:
        return Layout()
    if isinstance(sharding, Mesh):
        layout = Layout(_automatic(sharding), tuple(sharding.axis_names))
    elif isinstance(sharding, NamedSharding) and sharding.spec and sharding.spec[0] is not None:
        if any(entry is not None for entry in sharding.spec[1:]):
            raise ValueError(
                f"sharding: only the first axis, the chains, can be spread; got {sharding.spec}"
            )
        names = sharding.spec[0]
        mesh = sharding.mesh
        if not isinstance(mesh, Mesh):
            raise TypeError("sharding: expected a mesh of devices, got an abstract one")
        layout = Layout(_automatic(mesh), names if isinstance(names, tuple) else (names,))
    else:
        raise TypeError(
            "sharding: expected a jax.sharding.Mesh, or a NamedSharding that names the axes of "
            f"the chains, got {sharding!r}"
        )
    devices = layout.num_devices
    if num_chains % devices:
        below = num_chains - num_chains % devices
        raise ValueError(
            f"num_chains: {num_chains} chains cannot be spread evenly over {devices} devices; use "
            f"{f'{below} or ' * (below > 0)}{below + devices}"
        )
    return layout


def _sharding_of(chained: PyTree) -> NamedSharding | None:
    """The sharding of the chains in a pytree, or None if they are not spread."""
    for leaf in jax.tree.leaves(chained):
        found = getattr(leaf, "sharding", None) if trees.is_concrete(leaf) else None
        if isinstance(found, NamedSharding) and found.spec and found.spec[0] is not None:
            return found
    return None


def _automatic(mesh: Mesh) -> Mesh:
    """`mesh` with axes of type Auto, which `jax.make_mesh` does not always make."""
    return Mesh(mesh.devices, mesh.axis_names)
