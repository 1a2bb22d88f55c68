"""What is refused, and in which words: each error names the argument, what was given, what to do.

A case is code to be run, the kind of error, and parts of its text and notes. The parts come in this
order, and there may be other text between them. They are the words that a user needs; the rest may
change.
"""

import contextlib
import dataclasses
import functools
import io
import shlex
import typing
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jlangevin as jl
from jlangevin.__main__ import main
from jlangevin.sampling import memory, program

TABLE = r"""
# sample

S(key=0)
    TypeError: key: expected a typed key, as jax.random.key(seed) ... got int
S(key=None)
    TypeError: key: expected a typed key ... got NoneType
S(key='0')
    TypeError: key: expected a typed key ... got str
S(key=jax.random.PRNGKey(0))
    TypeError: key: ... legacy ... jax.random.wrap_key_data(key)
S(key=jax.random.split(key, 3))
    ValueError: key: expected one key ... (3,) ... jax.vmap
S(key=jax.random.key(0, impl='rbg'))
    TypeError: key: ... rbg ... impl="threefry2x32"
S(key=jax.random.key)
    TypeError: key: expected a typed key, as jax.random.key(seed)
S(3.0)
    TypeError: energy: expected a callable x -> scalar, got float ... Partial
S(None)
    TypeError: energy: expected a callable x -> scalar, got NoneType
S('linear')
    TypeError: energy: expected a callable x -> scalar, got str
S(X)
    TypeError: energy: expected a callable x -> scalar, got ArrayImpl
S(jl.energies.quadratic)
    TypeError: energy: ... function quadratic ... quadratic(precision)
S(jl.energies.double_well)
    TypeError: energy: ... function double_well ... double_well()
S(jl.energies.gaussian_mixture)
    TypeError: energy: ... gaussian_mixture(means, covs)
S(jl.energies.Quadratic)
    TypeError: energy: got the class Quadratic itself ... call it:
S(jl.scores.score)
    TypeError: energy: got the function score itself ... score(function)
S(jl.Gaussian)
    TypeError: energy: got the class Gaussian itself ... Gaussian(mean, cov)
S(lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,); sum
S(lambda x: None)
    ValueError: energy: expected a scalar for one position, got NoneType
S(lambda x: (jnp.sum(x), 1))
    ValueError: energy: expected a scalar ... got tuple
S(lambda x: 'low')
    TypeError: energy: expected numbers ... given one position; got str
S(lambda x: jnp.sum)
    TypeError: energy: expected numbers ... which has to be called
S(lambda x: jnp.sum(x > 0))
    TypeError: energy: expected a real floating value, got dtype int32
S(lambda x: jnp.sum(x) * 1j)
    Exception: raised by the energy, given one position float32[2]
S(lambda: 0.0)
    TypeError: takes 0 ... raised by the energy, given one position float32[2]
S(lambda x, y: 0.0)
    TypeError: 'y' ... raised by the energy, given one position float32[2]
S(lambda x: x.energy)
    AttributeError: no attribute energy ... raised by the energy, given one position
S(lambda x: x['w'].sum())
    Exception: raised by the energy, given one position float32[2]
S(lambda x: float(x[0]))
    TypeError: raised by the energy ... jax.numpy (jnp) ... float()
S(lambda x: np.sum(np.exp(x)))
    TypeError: raised by the energy ... jax.numpy (jnp)
S(lambda x: x[0] if x[1] > 0 else x[1])
    TypeError: raised by the energy ... jnp.where for if
S(jax.jit(Model(X[0])))
    TypeError: unhashable ... raised by the energy ... instead of jax.jit(model) pass the model itself
S(lambda x: [1.0, 2.0][x.sum()])
    TypeError: raised by the energy, given one position
S(lambda x: jnp.nan * jnp.sum(x))
    ValueError: init: not finite at the start of 4 of 4 chains
S(lambda x: jnp.sum(jnp.log(-x)))
    ValueError: init: not finite ... the energy is not. Start where
S(lambda x: -jnp.sum(x**2), jl.mala(0.02), DRAWS[0], 200)
    jl.EnergyWarning: is E minus the log density? p ∝ exp(-E/T) ... need a minus sign ... Acceptance is
S(lambda x: -jnp.sum(x**2), jl.mala(50.0), DRAWS[0], 200)
    jl.StuckWarning: have hardly moved ... is E minus the log density?
S(lambda x: -jnp.sum(x**2), jl.ula(0.5), X, 200)
    jl.DivergenceWarning: 4 of 4 chains turned non-finite ... is E minus the log density?
S(lambda x: -jnp.sum(x**2), jl.ula(1.0), X, 50)
    jl.EnergyWarning: the energy is not finite where 4 of 4 chains ended ... is E minus the log density?
interrupted()
    jl.InterruptedWarning: interrupted after 2 of 6 steps ... resume(run.state, …, num_steps=4) ... if run.interrupted: break
unwatched(leaky)
    jax.errors.UnexpectedTracerError: the energy or the kernel has kept a value of an earlier call; let it depend only on its arguments
jl.domains.confine('energy', BOX)
    TypeError: energy: expected a callable x -> scalar, got str
S(jl.scores.score(lambda x: -x), jl.mala(0.1))
    jl.NoEnergyError: energy: only its score is known
S(jl.scores.score(lambda x: -x[:1]))
    ValueError: energy: expected float32[2], like the position
S(jl.scores.score(lambda x: 'x'))
    Exception: raised by the score, given one position float32[2]
S(Q, None)
    TypeError: kernel: None is not a kernel ... jlangevin.ula(step_size=0.01)
S(Q, 0.1)
    TypeError: kernel: 0.1 is not a kernel (it lacks init_noise, step_noise, init, step)
S(Q, 'ula')
    TypeError: kernel: 'ula' is not a kernel
S(Q, Q)
    TypeError: kernel: Quadratic ... is not a kernel
S(Q, jl.ula)
    TypeError: kernel: got the function ula itself, not what it makes; call it: ula(step_size)
S(Q, jl.mala)
    TypeError: kernel: got the function mala itself ... mala(step_size)
S(Q, jl.underdamped)
    TypeError: kernel: ... underdamped(step_size, friction)
S(Q, jl.kernels.ULA)
    TypeError: kernel: got the class ULA itself, not what it makes; call it: ULA(
S(Q, jl.kernels.MALA)
    TypeError: kernel: got the class MALA itself
S(Q, jl.kernels.Underdamped)
    TypeError: kernel: got the class Underdamped itself
S(Q, Own)
    TypeError: kernel: got the class Own itself, not what it makes; call it: Own(
S(Q, Own(step=lambda s, z: s))
    TypeError: kernel: its step is to return a pair ... jlangevin.Info()
S(Q, Own(step=lambda s, z: (s.position, jl.Info())))
    ValueError: kernel: expected ... from step
S(Q, Own(step=lambda s, z: (s, jl.Info(jnp.ones(2)))))
    ValueError: acceptance_rate ... one number
S(Q, Own(step=lambda s, z: (s, jl.Info('yes'))))
    TypeError: kernel: step: expected numbers ... given state and noise; got str
S(Q, Own(step=lambda s, z: s.velocity))
    AttributeError: raised by the kernel's step, given state and noise
S(Q, Own(init=lambda x: State('here')))
    TypeError: kernel: init: expected numbers ... given position and noise; got str
S(Q, Own(init=lambda x: x))
    TypeError: kernel: its state needs a member `position`
S(Q, Own(step_noise='normal'))
    TypeError: made of jlangevin.noise.Want, such as Want.NORMAL ... 'normal'
S(Q, jl.annealed([1.0, 0.1], 2, 0.01))
    TypeError: Quadratic has no levels ... level_score
S(init=X[0])
    ValueError: first axis counts chains ... pass x[None]
S(init=jnp.ones((3, 5)))
    ValueError: expected a position of shape (2,), got (5,)
S(init=jnp.float32(0))
    ValueError: init: expected a leading chain axis ... float32[]
S(init=((1.0, 1.0), (1.0, 1.0)))
    ValueError: init[0][0]: expected a leading chain axis, but init is ((float32[], float32[]) ... jnp.array(x)
S(init='here')
    TypeError: init: expected an array ... str
S(init=None)
    ValueError: init: no positions were given
S(init=())
    ValueError: init: no positions were given
S(init=jnp.zeros((0, 2)))
    ValueError: init: no positions were given (a chain axis of length 0)
S(init=jnp.ones((4, 2), int))
    TypeError: init: expected floating positions, got dtype int32
S(init=X > 0)
    TypeError: init: expected floating positions, got dtype bool
S(init=X.astype(complex))
    TypeError: init: expected floating positions, got dtype complex64
S(init=np.array([['a', 'b']]))
    TypeError: init: expected an array of numbers, got dtype <U1
S(init=np.ones((4, 2), object))
    TypeError: init: expected an array of numbers, got dtype object
S(init=[[1.0, 1.0], [1.0]])
    ValueError: init: these lists do not form an array ... tuple
S(init=(X, X[:3]))
    ValueError: init: leaves differ in the number of chains, their first axis: init[0] has 4, init[1] has 3
S(init={0: X, 'a': X})
    ValueError: init: ... keys of a dict ... one type
S(init=jax.ShapeDtypeStruct((4, 2), jnp.float32))
    TypeError: init: expected positions, got only shapes
S(init=Plain(X))
    TypeError: init: expected an array of numbers, got Plain ... jax.tree_util.register_dataclass
S(init=RUN)
    TypeError: init: got a Run; pass run.position ... resume(run.state
S(init=RUN.state)
    TypeError: init: got a SamplerState ... run.position
S(init=RUN.state.kernel)
    TypeError: init: got a PositionState ... run.position
S(init=jl.Gaussian)
    TypeError: init: got the class Gaussian itself ... Gaussian(mean, cov)
S(init=jl.energies.double_well(dim=2), num_chains=4)
    jl.NoClosedFormError: init: DoubleWell has no exact sampler ... jlangevin.Gaussian
S(init=jl.energies.linear([1.0, 1.0]), num_chains=4)
    jl.NotNormalizableError: init: Linear has no exact sampler, as exp(-E) has no finite integral
S(init=jl.exact.trajectory(K, Q, G, 2), num_chains=4)
    ValueError: init: expected one law, got a trajectory of 3
S(init=X.at[1].set(jnp.nan))
    ValueError: init: not finite at the start of 1 of 4 chains ... chain 1, the position
S(init=G64, num_chains=4)
    TypeError: init: holds float64, made while x64 was enabled ... jax_enable_x64
S(init=X64)
    TypeError: init: holds float64, made while x64 was enabled
S(Q64)
    TypeError: energy: holds float64, made while x64 was enabled
S(Q, jl.ula(X64[0, 0]))
    TypeError: kernel: holds float64, made while x64 was enabled
S(init=G)
    ValueError: num_chains: pass a number of chains
S(num_chains=3)
    ValueError: num_chains: 3 chains were asked for, but init has 4 positions ... Gaussian(x, zeros)
S(init=G, num_chains=0)
    ValueError: num_chains: expected at least 1, got 0
S(init=G, num_chains=2.5)
    TypeError: num_chains: expected an integer, got 2.5
S(init=G, num_chains=True)
    TypeError: num_chains: expected an integer, got True
S(init=G, num_chains='4')
    TypeError: num_chains: expected an integer, got '4'
S(init=G, num_chains=2**32 + 1)
    ValueError: num_chains: a key has 4294967296 streams
S(init=G, num_chains=2**32)
    MemoryError: num_chains: 4,294,967,296 chains ... Run some at a time
S(n=-1)
    ValueError: num_steps: expected at least 0, got -1
S(n=1.0)
    TypeError: num_steps: expected an integer, got 1.0
S(n=None)
    TypeError: num_steps: expected an integer, got None
S(n=2**31)
    ValueError: num_steps: ... 2147483647 steps of a stream ... more chains
S(n=3, thin=5)
    ValueError: num_steps: must be a multiple of thin, but 3 is not a multiple of 5; use 0 or 5
S(thin=0)
    ValueError: thin: expected at least 1, got 0
S(burn_in=-1)
    ValueError: burn_in: expected at least 0, got -1
S(chains=[0, 1, 1, 2])
    ValueError: chains: stream 1 is named twice ... name each once
S(chains=[0, 1, 2, -3])
    ValueError: chains: stream numbers lie in [0, 2**32), got -3
S(chains=[0, 1, 2, 2**32])
    ValueError: chains: stream numbers lie in [0, 2**32), got 4294967296
S(chains=[0.5])
    ValueError: chains: expected a non-empty list of integers, got [0.5]
S(chains=[])
    ValueError: chains: expected a non-empty list of integers
S(chains=7)
    ValueError: chains: expected a non-empty list of integers, got 7
S(chains=[1, 2])
    ValueError: chains: 2 chains were asked for, but init has 4 positions
S(chains=[0, 1, 2, 3], num_chains=4)
    ValueError: num_chains and chains: pass only one of them
S(init=G, n=10**9, num_chains=10**4)
    MemoryError: draws: ... Keep fewer draws (thin=…), less of each (observe=…
S(observe=3)
    TypeError: observe: expected a function of the kernel state or None, got 3
S(observe='position')
    TypeError: observe: expected a function of the kernel state
S(observe=lambda s: s.velocity)
    AttributeError: 'velocity' ... raised by observe, given one chain's kernel state PositionState(position=float32[2])
S(observe=lambda: 0)
    TypeError: raised by observe, given one chain's kernel state
S(observe=lambda s: 'x')
    TypeError: observe: expected numbers, arrays or a pytree of them ... got str
S(observe=lambda s: s.position.sum)
    TypeError: observe: ... got method, which has to be called
S(observe=lambda s: float(s.position[0]))
    TypeError: raised by observe ... leave out float()
S(observe=lambda s: np.exp(s.position))
    TypeError: raised by observe ... jax.numpy (jnp)
S(observe=jl.reducers.moments)
    TypeError: raised by observe, given one chain's kernel state
jax.jit(lambda x: S(init=x, observe=lambda s: s.velocity).draws)(X)
    AttributeError: raised by observe, given one chain's kernel state PositionState(position=float32[2])
S(sharding='chains')
    TypeError: sharding: expected a jax.sharding.Mesh ... got 'chains'
S(sharding=NamedSharding(MESH, P(None, 'chains')))
    TypeError: sharding: expected ... names the axes of the chains
S(on_divergence='stop')
    ValueError: on_divergence: expected "report", "raise" or "ignore", got 'stop'
S(progress='yes')
    TypeError: progress: expected True or False, or "always", got 'yes'
S(block_steps=0)
    ValueError: block_steps: expected at least 1, got 0
S(fused='yes')
    TypeError: fused: expected True or False, None or "interpret", got 'yes'
S(fused=1)
    TypeError: fused: expected True or False, None or "interpret", got 1
S(fused=True)
    ValueError: fused: it keeps only the last states; pass observe=None and no reducers
S(fused=True, observe=None, reducers=jl.reducers.moments())
    ValueError: fused: ... observe=None and no reducers
S(fused=True, observe=None)
    ValueError: fused: it is for GPUs, and the chains are on a CPU; leave it out, or pass fused="interpret"
S(kernel=jl.barker(0.1), fused=True, observe=None)
    ValueError: fused: the kernel has to be one of ... ULA ... got Barker
S(fused='interpret', observe=None, remat=True)
    ValueError: fused: it has no derivative, which remat=True is for
S(lambda x: jnp.sum(x**2), init=jnp.zeros((3, 2), jnp.float16), fused='interpret', observe=None)
    ValueError: fused: positions have to be float32 or float64, got float16
S(lambda x: jnp.sum(jnp.sort(x)), fused='interpret', observe=None)
    ValueError: fused: ... the operation sort, for which there is no form in registers; leave fused out
jax.jit(lambda x: S(init=x, fused='interpret', observe=None).position)(X)
    ValueError: fused: ... cannot be a part of another program ... outside of jit
S(every=2)
    ValueError: every: needs checkpoint=
jax.jit(lambda x: S(init=x, block_steps=2).draws)(X)
    ValueError: progress, block_steps, checkpoint: ... call sample outside of it
jax.jit(lambda x: S(init=x, on_divergence='raise').draws)(X)
    ValueError: on_divergence: ... run.info.num_divergent

# reducers

S(reducers=3)
    TypeError: reducers: expected a reducer or a pytree of them, got int
S(reducers='moments')
    TypeError: reducers: expected a reducer ... got str
S(reducers=jl.reducers.moments)
    TypeError: reducers: got the function moments itself ... moments()
S(reducers=jl.reducers.histogram)
    TypeError: reducers: got the function histogram itself ... histogram(edges)
S(reducers=jl.reducers.Reducer)
    TypeError: reducers: got the class Reducer itself
S(reducers=type(jl.reducers.moments()))
    TypeError: reducers: got the class MomentsReducer itself
S(reducers=[jl.reducers.moments(), 3])
    TypeError: reducers: expected a reducer ... got int
S(reducers={0: jl.reducers.moments(), 'a': jl.reducers.moments()})
    ValueError: reducers: ... keys of a dict ... one type
S(reducers=SimpleNamespace(init=1))
    TypeError: reducers: ... lacks update, finish
S(reducers=jl.reducers.moments(lambda s: s.velocity))
    AttributeError: 'velocity' ... raised by reducers: MomentsReducer's of, given one chain's kernel state PositionState
S(reducers=jl.reducers.moments(lambda s: 'x'))
    TypeError: reducers: MomentsReducer's of: expected numbers ... got str
S(reducers=jl.reducers.moments(lambda: 0))
    TypeError: raised by reducers: MomentsReducer's of
S(reducers=jl.reducers.moments(lambda s: np.exp(s.position)))
    TypeError: raised by reducers: MomentsReducer's of ... jnp
S(reducers=jl.reducers.expectation(lambda s: s.position.sum))
    TypeError: reducers: Expectation's of ... got method, which has to be called
S(reducers=custom(update=lambda a, s, n: (a, a)))
    ValueError: reducers: Custom's update: expected float32[], like the accumulator from init, got (float32[], float32[])
S(reducers=custom(update=lambda a, s, n: jnp.zeros(3)))
    ValueError: reducers: Custom's update: expected float32[], like the accumulator from init, got float32[3]
S(reducers=custom(update=lambda a, s: a))
    TypeError: raised by reducers: Custom's update, given accumulator, state and n
S(reducers=custom(init=lambda s: 'x'))
    TypeError: reducers: Custom's init: expected numbers ... got str
S(reducers=custom(init=lambda: 0.0))
    TypeError: raised by reducers: Custom's init, given one chain's kernel state
S(reducers=custom(finish=lambda a: a))
    TypeError: raised by reducers: Custom's finish, given accumulator and n
S(reducers=jl.reducers.pooled(Pools()))
    TypeError: raised by reducers: PooledReducer's pool
jl.reducers.moments(3)
    TypeError: of: expected a function of the kernel state, got 3
jl.reducers.expectation('position')
    TypeError: of: expected a function of the kernel state, got 'position'
jl.reducers.extrema(None)
    TypeError: of: expected a function
jl.reducers.custom(1, len, len)
    TypeError: init: expected a function, got 1
jl.reducers.custom(len, None, len)
    TypeError: update: expected a function, got None
jl.reducers.pooled(3)
    TypeError: reducer: int cannot be pooled; it needs pool(
jl.reducers.pooled(jl.reducers.moments)
    TypeError: reducer: got the function moments itself ... moments()
jl.reducers.pooled(custom())
    TypeError: reducer: Custom cannot be pooled
jl.reducers.histogram([1.0])
    ValueError: edges: expected at least two, each above the one before; got [1.]
jl.reducers.histogram([1.0, 0.0])
    ValueError: edges: expected at least two, each above the one before; got [1., 0.]
jl.reducers.histogram([0.0, jnp.inf])
    ValueError: edges: expected finite values
jl.reducers.histogram('edges')
    TypeError: edges: expected an array of numbers, got str
jl.reducers.histogram(jnp.ones((2, 2)))
    ValueError: edges: expected 1 dimension(s), got shape (2, 2)
jl.reducers.autocovariance(0)
    ValueError: max_lag: expected at least 1, got 0
jl.reducers.autocovariance(2.5)
    TypeError: max_lag: expected an integer, got 2.5
jl.reducers.split_rhat(3)
    ValueError: num_draws: expected at least 4, got 3

# resume

resume(RUN)
    TypeError: state: expected the state of a Run; pass run.state
resume(3)
    TypeError: state: expected the state of a Run; got int
resume(RUN.state.kernel)
    TypeError: state: expected the state of a Run; got PositionState
resume(RUN.state, kernel=jl.kernels.ULA)
    TypeError: kernel: got the class ULA itself
resume(RUN.state, kernel=jl.mala(0.1))
    ValueError: state: expected MetropolisState ... pass the kernel that made the state
resume(RUN.state, energy=3.0)
    TypeError: energy: expected a callable
resume(RUN.state, reducers=jl.reducers.moments)
    TypeError: reducers: got the function moments itself
resume(RUN.state, reducers=jl.reducers.moments(lambda s: s.velocity))
    AttributeError: raised by reducers: MomentsReducer's of
resume(RUN.state, observe=lambda s: s.velocity)
    AttributeError: raised by observe, given one chain's kernel state PositionState(position=float32[2])
resume(RUN.state._replace(kernel=None))
    ValueError: state: expected the same number of chains ... pass run.state unchanged
resume(RUN.state._replace(kernel=jl.kernels.ULAState(X[:2])))
    ValueError: state: expected the same number of chains ... float32[2, 2]
resume(RUN.state._replace(step='8'))
    TypeError: state: expected arrays as leaves, got str
resume(RUN.state._replace(kernel=jl.kernels.ULAState(X64)))
    TypeError: state: holds float64, made while x64 was enabled
resume(RUN.state, num_steps=2**31 - 5)
    ValueError: num_steps: ... 8 are used up ... under another key
resume(RUN.state, num_steps=-1)
    ValueError: num_steps: expected at least 0, got -1
resume(S(reducers=jl.reducers.moments()).state)
    ValueError: reducers: the state carries reducers' sums ... state._replace(reducers=None)

# warm_up

warm_up(energy=lambda x: -jnp.sum(x**2), init=DRAWS[0])
    jl.WarmUpWarning: warm-up has not settled: The energy falls without end ... is E minus the log density?
warm_up(key=0)
    TypeError: key: expected a typed key
warm_up(3)
    TypeError: kernel: 3 is not a kernel
warm_up(jl.mala)
    TypeError: kernel: got the function mala itself ... mala(step_size)
warm_up(jl.kernels.MALA)
    TypeError: kernel: got the class MALA itself
warm_up(jl.mirrored(jl.mala(0.5), BOX))
    TypeError: kernel: Mirrored has no step size of its own to adapt; warm up MALA
warm_up(jl.mala(lambda t: 0.1))
    ValueError: kernel: a scheduled hyper-parameter cannot be adapted
warm_up(num_steps=10)
    ValueError: num_steps: expected at least 200, got 10
warm_up(target_acceptance=1.5)
    ValueError: target_acceptance: expected a probability in (0, 1), got 1.5
warm_up(target_acceptance='high')
    TypeError: target_acceptance: expected a probability
warm_up(precondition='full')
    ValueError: precondition: expected "auto", "dense", "low rank", "diagonal" or None, got 'full'
warm_up(per_chain=1)
    TypeError: per_chain: expected True or False, got 1
warm_up(per_chain=True)
    ValueError: num_steps: expected at least 400, got 200
warm_up(energy=jl.each(jax.vmap(jl.energies.linear)(X)), precondition='dense')
    ValueError: precondition: "dense" would be learnt from all chains together ... the kernel keeps its own
warm_up(jl.malt(0.1, 1.0, 2), num_steps=600, per_chain=True, longest_trajectory=4)
    ValueError: longest_trajectory: a length is found for all chains together, but each keeps its own step size
warm_up(energy_variance=-1.0)
    ValueError: energy_variance
warm_up(energy=3.0)
    TypeError: energy: expected a callable
warm_up(init=X[0])
    ValueError: first axis counts chains ... x[None]
jax.jit(lambda x: warm_up(init=x).kernel.step_size)(X)
    TypeError: its values are not known under jit, vmap or grad, but warm-up decides on the host; call this outside

# kernels

setattr(K, 'step_size', 5.0)
    AttributeError: step_size: a ULA was checked when it was made ... make another one
jl.ula(-0.1)
    ValueError: step_size: expected values above zero, got -0.1
jl.ula(0.0)
    ValueError: step_size: expected values above zero, got 0.0
jl.ula(jnp.nan)
    ValueError: step_size: expected finite values, got nan
jl.ula('0.1')
    TypeError: step_size: expected a real number, got '0.1'
jl.ula(None)
    TypeError: step_size: expected a real number, got None
jl.ula(True)
    TypeError: step_size: expected a real number, got True
jl.ula(0.1j)
    TypeError: step_size: expected a real number
jl.ula([0.1, 0.2])
    TypeError: step_size: expected a real number, got [0.1, 0.2]
jl.ula(jnp.array([0.1, 0.2]))
    ValueError: step_size: expected a scalar, got shape (2,); use jax.vmap
jl.ula(0.1, temperature=0.0)
    ValueError: temperature: expected values above zero
jl.ula(0.1, temperature='1')
    TypeError: temperature: expected a real number, got '1'
jl.ula(0.1, preconditioner=-1.0)
    ValueError: preconditioner: expected values above zero
jl.ula(0.1, preconditioner='eye')
    TypeError: preconditioner
S(Q, jl.ula(0.1, preconditioner=jnp.ones((2, 3))))
    ValueError: preconditioner: expected float32[2], like the position, got float32[2, 3]
S(Q, jl.ula(0.1, preconditioner=jnp.ones((2, 2))))
    ValueError: preconditioner: as a matrix, an array of shape (2, 2) has to be symmetric and positive definite
jl.ula(0.1, preconditioner=-jnp.eye(2))
    ValueError: preconditioner: not positive definite (smallest eigenvalue -1)
jl.ula(0.1, preconditioner=jnp.array([[1.0, 1.0], [0.0, 1.0]]))
    ValueError: preconditioner: not symmetric ... (A + A.T) / 2
S(Q, jl.ula(0.1, preconditioner=jnp.ones(3)))
    ValueError: preconditioner: expected float32[2], like the position, got float32[3]
jl.leimkuhler_matthews(-1.0)
    ValueError: step_size: expected values above zero
jl.underdamped(0.1, -1.0)
    ValueError: friction: expected values
jl.underdamped(0.1, 1.0, mass=0.0)
    ValueError: mass: expected values above zero
jl.underdamped(0.1, 1.0, mass=None)
    TypeError: mass: expected a number, a diagonal or a matrix, got None
jl.underdamped(0.1, 1.0, splitting='XYZ')
    ValueError: splitting: ... 'XYZ'
jl.mala(-0.1)
    ValueError: step_size: expected values above zero
jl.barker(0.1, temperature=-1.0)
    ValueError: temperature: expected values above zero
jl.malt(0.1, 1.0, 0)
    ValueError: trajectory_length
jl.microcanonical(-0.1, 1.0)
    ValueError: step_size: expected values above zero
jl.microcanonical(0.1, 0.0)
    ValueError: decoherence_length: expected values above zero
jl.microcanonical(0.1, 1.0, integrator='euler')
    ValueError: integrator: expected "leapfrog", "minimal_norm", "BCSS2" or "BCSS3", got 'euler'
jl.microcanonical(0.1, 1.0).init(Q, jnp.ones(1), jnp.ones(1))
    ValueError: kernel: a microcanonical velocity has a constant length, so that in dimension 1 it cannot turn; take jlangevin.underdamped
jl.adjusted_microcanonical(0.1, 0)
    ValueError: trajectory_length: expected at least 1, got 0
jl.tamed_ula('x')
    TypeError: step_size: expected a real number
jl.sgld(0.1, 3.0)
    TypeError: estimator: expected a callable from a key and a position
jl.sgld(0.1, jl.estimators.minibatch)
    TypeError: estimator: got the function minibatch itself ... minibatch(energy_of_item, data, batch_size)
jl.sghmc(0.1, 1.0, jl.estimators.Minibatch)
    TypeError: estimator: got the class Minibatch itself
jl.sghmc(0.1, 1.0, len, gradient_cov=1e9 * jnp.eye(2))
    ValueError: gradient_cov: its largest eigenvalue, 1e+09 ... smaller step_size
jl.annealed([], 2, 0.01)
    ValueError: sigmas: expected at least one level
jl.annealed([0.1, 1.0], 2, 0.01)
    ValueError: sigmas: expected levels that fall
jl.annealed([1.0, 0.1], 0, 0.01)
    ValueError: steps_each: expected at least 1, got 0
jl.predictor_corrector([1.0, 0.1], -1.0)
    ValueError: step_size: expected values above zero
jl.tempered(jl.mala(0.5), [1.0])
    ValueError: temperatures: expected at least two, got 1
jl.tempered(jl.mala(0.5), [2.0, 1.0])
    ValueError: temperatures: expected them to rise
jl.tempered(jl.mala(0.5), [2.0, 4.0])
    ValueError: temperatures: the first is 2.0 and the kernel's 1.0
jl.tempered(jl.mala(0.5), [1.0, 4.0], step_sizes=[0.1])
    ValueError: step_sizes: expected 2, one a temperature, got 1
jl.coupled(jl.kernels.ULA, 5)
    TypeError: kernel: got the class ULA itself
jl.coupled(jl.ula(0.1), 0)
    ValueError: lag: expected at least 1, got 0
jl.coupled(jl.ula(0.1), 5, how='best')
    ValueError: how: expected "reflection" or "common", got 'best'
jl.coupled(jl.underdamped(0.1, 1.0), 5)
    TypeError: kernel: Underdamped cannot be reflected ... how="common"
jl.gradient_noise(jl.kernels.ULA, jnp.eye(2))
    TypeError: kernel: got the class ULA itself
jl.gradient_noise(jl.mala(0.1), jnp.eye(2))
    TypeError: kernel: MALA accepts or rejects ... jlangevin.ula
jl.gradient_noise(K, -jnp.eye(2))
    ValueError: cov: not positive semi-definite (smallest eigenvalue -1)
jl.gradient_noise(K, jnp.ones((2, 3)))
    ValueError: cov: expected a square matrix, got shape (2, 3)
jl.mirrored(jl.kernels.MALA, BOX)
    TypeError: kernel: got the class MALA itself
jl.mirrored(jl.mala(0.5), jl.domains.Box)
    TypeError: domain: got the class Box itself ... Box(lower, upper)
jl.mirrored(jl.mala(0.5), jl.domains.box)
    TypeError: domain: got the function box itself ... box(lower, upper)
jl.projected(0.1, None)
    TypeError: domain: None is not a domain ... jlangevin.domains.box(0.0, 1.0)
jl.reflected(0.1, jl.domains.ball)
    TypeError: domain: got the function ball itself ... ball(center, radius)
jl.reflected_mala(0.1, 'box')
    TypeError: domain: 'box' is not a domain
S(Q, jl.projected(0.1, BOX), X + 1)
    ValueError: init: not finite ... Start inside the kernel's domain

# schedules

S(Q, jl.ula(lambda: 0.1))
    TypeError: schedule
S(Q, jl.ula(lambda t, x: 0.1))
    TypeError: schedule
S(Q, jl.ula(lambda t: t.rate))
    AttributeError: schedule
S(Q, jl.ula(lambda t: 0.1 if t < 5 else 0.01))
    TypeError: schedule ... jnp.where for if
S(Q, jl.ula(lambda t: [0.1, 0.05, 0.01][t]))
    TypeError: schedule ... jax.numpy (jnp)
S(Q, jl.ula(lambda t: np.array([0.1, 0.05])[t]))
    TypeError: schedule ... jax.numpy (jnp)
S(Q, jl.ula(lambda t: None))
    TypeError: step_size ... got None
S(Q, jl.ula(lambda t: '0.1'))
    TypeError: step_size ... got '0.1'
S(Q, jl.ula(lambda t: 0.1j))
    TypeError: step_size ... got 0.1j
S(Q, jl.ula(lambda t: jnp.full(3, 0.1)))
    ValueError: step_size ... (3,)
jl.ula(jl.Schedule)
    TypeError: step_size
jl.ula(jl.Schedule(0.1))
    TypeError: step_size
jl.ula(jl.Gaussian)
    TypeError: step_size

# estimators

jl.estimators.minibatch(3, Y, 2)
    TypeError: energy_of_item: expected a callable, got int
jl.estimators.minibatch(item, Y, 2, prior=3)
    TypeError: prior: expected a callable, got int
jl.estimators.minibatch(jl.energies.quadratic, Y, 2)
    TypeError: energy_of_item: got the function quadratic itself
jl.estimators.minibatch(item, Y, 0)
    ValueError: batch_size: expected at least 1, got 0
jl.estimators.minibatch(item, Y, 2.0)
    TypeError: batch_size: expected an integer, got 2.0
jl.estimators.minibatch(item, jnp.float32(1.0), 2)
    ValueError: data: expected an array whose first axis counts the items, got 1.0
jl.estimators.minibatch(item, None, 2)
    ValueError: data: expected arrays whose first axis counts the items, got None
jl.estimators.minibatch(item, jnp.zeros((0, 2)), 2)
    ValueError: data: expected the same number of items, the first axis: data has 0
jl.estimators.minibatch(item, (Y, Y[:3]), 2)
    ValueError: data: expected the same number of items, the first axis: data[0] has 6, data[1] has 3
jl.estimators.minibatch(item, {0: Y, 'a': Y}, 2)
    ValueError: data: ... keys of a dict ... one type
BATCHES(0, X[0])
    TypeError: key: expected a typed key, as jax.random.key(seed) makes it; got int
BATCHES(X[0], key)
    TypeError: key: expected a typed key
BATCHES(key, jnp.arange(2))
    TypeError: position: expected floating arrays, got dtype int32
jl.estimators.minibatch(lambda x, y: x - y, Y, 2)(key, X[0])
    ValueError: energy_of_item: expected a scalar for one item, got shape (2,); sum
jl.estimators.minibatch(item, Y, 2, prior=lambda x: x)(key, X[0])
    ValueError: prior: expected a scalar for one position
jl.estimators.control_variate(item, X[0])
    TypeError: minibatch: expected the result of jlangevin.estimators.minibatch, got function
jl.estimators.control_variate(jl.estimators.minibatch, X[0])
    TypeError: minibatch: got the function minibatch itself
jl.estimators.control_variate(BATCHES, jnp.arange(2))
    TypeError: center: expected floating arrays, got dtype int32
jl.estimators.control_variate(BATCHES, None)
    ValueError: center: expected one position, got None
jl.estimators.control_variate(BATCHES, X[0] * jnp.nan)
    ValueError: center: the gradient there: expected finite values
jl.estimators.control_variate(BATCHES, X[0])(key, jnp.ones(3))
    ValueError: center: expected float32[3], like the position, got float32[2]
S(Q, jl.sgld(0.1, lambda x: x))
    TypeError: estimator, given
S(Q, jl.sgld(0.1, Q))
    TypeError: estimator, given
S(Q, jl.sgld(0.1, lambda k, x: np.exp(x)))
    TypeError: estimator, given ... jax.numpy (jnp)
S(Q, jl.sgld(0.1, lambda k, x: jnp.ones(3)))
    ValueError: estimator: expected float32[2], like the position ... got float32[3]
S(Q, jl.sgld(0.1, lambda k, x: None))
    ValueError: estimator: expected float32[2], like the position ... got None
S(Q, jl.sgld(0.1, lambda k, x: (x,)))
    ValueError: estimator: expected float32[2], like the position ... got (float32[2],)
S(Q, jl.sgld(0.1, lambda k, x: jnp.sum(x)))
    ValueError: estimator: expected float32[2], like the position ... got float32[]
S(Q, jl.sgld(0.1, lambda k, x: x.astype(complex)))
    ValueError: estimator: expected float32[2], like the position ... complex64[2]

# scores

jl.scores.score(3)
    TypeError: function: expected a score x -> s(x), got int
jl.scores.score(jl.scores.score)
    TypeError: function: got the function score itself
jl.scores.score(jl.scores.score(lambda x: -x))
    TypeError: function: got a Score, which already stands for an energy
jl.scores.level_score(None, 1.0)
    TypeError: function: expected a score x -> s(x), got NoneType
jl.scores.from_variance_preserving(3, [0.9])
    TypeError: function: expected a score x -> s(x), got int
jl.scores.from_variance_preserving(lambda x, t: x, [0.5, 0.9])
    ValueError: alpha_bar: expected numbers in (0, 1) that fall, cumprod(1 - β), got [0.5 0.9]
jl.scores.from_variance_preserving(lambda x, t: x, [1.0, 0.9])
    ValueError: alpha_bar: expected numbers in (0, 1) that fall
jl.scores.from_variance_preserving(lambda x, t: x, [])
    ValueError: alpha_bar: expected at least one level
jl.scores.from_variance_preserving(lambda x, t: x, [0.9, 0.5], predicts='data')
    ValueError: predicts: expected "noise" or "score", got 'data'
jl.scores.from_variance_preserving(lambda x, t: x, [0.9, 0.5], 0.5)
    ValueError: sigma: expected a level of the model, one of its sigmas = sqrt((1 - ᾱ) / ᾱ) from 1 down to 0.333333, got 0.5; the nearest is 0.333333
S(jl.scores.from_variance_preserving(lambda x, t: x, [0.9, 0.5]), jl.annealed([0.7, 0.3], 1, 0.1))
    jl.DivergenceWarning: after 0 steps ... sigma: expected a level of the model ... got 0.7
jl.scores.level_score(lambda x, s: -x, 0.0)
    ValueError: sigma: expected values above zero
jl.scores.score(lambda x: -x)(X[0])
    jl.NoEnergyError: energy: only its score is known ... jlangevin.ula

# energies

jl.energies.linear(3.0)
    ValueError: theta: expected 1 dimension(s), got shape ()
jl.energies.linear('x')
    TypeError: theta: expected an array of numbers, got str
jl.energies.linear([1.0, jnp.nan])
    ValueError: theta: expected finite values
jl.energies.linear(np.array([1.0, 2.0], object))
    TypeError: theta: expected an array of numbers, got dtype object
jl.energies.linear([[1.0], [1.0, 2.0]])
    TypeError: theta: expected an array of numbers, got list
jl.energies.linear([1j])
    TypeError: theta: expected real numbers, got dtype complex64
jl.energies.linear([1.0, 2.0]).cov
    jl.NotNormalizableError: Linear: cov ... no finite integral
jl.energies.linear([1.0, 2.0]).sample(key, 3)
    jl.NotNormalizableError: Linear: an exact sampler does not exist
jl.energies.quadratic(jnp.ones(2))
    ValueError: precision: expected 2 dimension(s), got shape (2,)
jl.energies.quadratic(jnp.ones((2, 3)))
    ValueError: precision: expected a square matrix, got shape (2, 3)
jl.energies.quadratic(-jnp.eye(2))
    ValueError: precision: not positive definite (smallest eigenvalue -1)
jl.energies.quadratic(jnp.array([[1.0, 1.0], [0.0, 1.0]]))
    ValueError: precision: not symmetric ... (A + A.T) / 2
jl.energies.quadratic(jnp.eye(2), mean=jnp.zeros(3))
    ValueError: mean: expected shape (2,) to match precision, got (3,)
jl.energies.quadratic(jnp.eye(2), mean=[0.0, jnp.inf])
    ValueError: mean: expected finite values
jl.energies.quadratic(jnp.eye(2, dtype=jnp.float16)).cov
    TypeError: precision: expected float32 or float64, got float16 ... astype(jnp.float32)
jl.energies.quadratic(jnp.eye(2, dtype=jnp.bfloat16)).sample(key, 3)
    TypeError: precision: expected float32 or float64, got bfloat16
jl.energies.quadratic(jnp.eye(2, dtype=jnp.bfloat16)).log_z
    TypeError: precision: expected float32 or float64, got bfloat16
jl.energies.gaussian_mixture(jnp.zeros((0, 2)), jnp.zeros((0, 2, 2)))
    ValueError: means: expected at least one component
jl.energies.gaussian_mixture(jnp.zeros((2, 1)), jnp.ones((3, 1, 1)))
    ValueError: covs: expected shape (2, 1, 1) to match means ... got (3, 1, 1)
jl.energies.gaussian_mixture(jnp.zeros((3, 2)), jnp.ones(3))
    ValueError: covs: expected shape (3, 2, 2) to match means, (2, 2) for one covariance of all components, or a scalar variance; got (3,)
jl.energies.gaussian_mixture(jnp.zeros((2, 1)), -1.0)
    ValueError: covs: expected values above zero, got -1
jl.energies.gaussian_mixture(jnp.zeros((2, 1)), -jnp.ones((2, 1, 1)))
    ValueError: covs[0]: not positive definite
jl.energies.gaussian_mixture(jnp.zeros((2, 1)), jnp.ones((2, 1, 1)), [0.5])
    ValueError: weights: expected shape (2,) to match means, got (1,)
jl.energies.gaussian_mixture(jnp.zeros((2, 1)), jnp.ones((2, 1, 1)), [2.0, 2.0])
    ValueError: weights: expected a sum of 1, got 4
jl.energies.gaussian_mixture(jnp.zeros((2, 1), jnp.float16), jnp.ones((2, 1, 1), jnp.float16))
    TypeError: means, covs: expected float32 or float64, got float16
jl.energies.double_well(height=-1.0)
    ValueError: height: expected values above zero
jl.energies.double_well(dim=0)
    ValueError: dim: expected at least 1, got 0
jl.energies.double_well().sample(key, 3)
    jl.NoClosedFormError: DoubleWell: an exact sampler has no closed form; sample
jl.energies.rosenbrock(block_length=1)
    ValueError: block_length: expected at least 2, got 1
jl.energies.rosenbrock(b=jnp.ones(3))
    ValueError: b: expected a scalar or shape
jl.energies.funnel(dim=1)
    ValueError: dim: expected at least 2, got 1
jl.energies.funnel(scale=0.0)
    ValueError: scale: expected values above zero
jl.energies.ring(width=-1.0)
    ValueError: width: expected values above zero
Q(X)
    ValueError: Quadratic: expected a position of shape (2,), got (4, 2); use jax.vmap
Q(jnp.ones(3))
    ValueError: Quadratic: expected a position of shape (2,), got (3,)
Q([1.0, 1.0])
    TypeError: Quadratic: expected a position that is a real array, got list
Q('x')
    TypeError: Quadratic: expected a position that is a real array, got str
Q(None)
    TypeError: Quadratic: expected a position that is a real array, got NoneType
jl.energies.linear([1.0, 2.0])((3.0, 0.5))
    TypeError: Linear: expected a position that is a real array, got tuple
Q.sample(0, 3)
    TypeError: key: expected a typed key
Q.sample(key, 0)
    ValueError: num_draws: expected at least 1, got 0
Q.sample(key, 10**10)
    ValueError: num_draws: a key has 4294967296 streams, got 10000000000 ... another key

# Gaussian

setattr(G, 'mean', X[0])
    AttributeError: mean: a Gaussian was checked when it was made ... make another one
jl.Gaussian(jnp.zeros(2), jnp.eye(3))
    ValueError: cov: expected shape (2, 2) for a mean of 2 elements, got (3, 3)
jl.Gaussian(jnp.zeros(2), -jnp.eye(2))
    ValueError: cov: not positive semi-definite (smallest eigenvalue -1)
jl.Gaussian(jnp.zeros(2), jnp.array([[1.0, 1.0], [0.0, 1.0]]))
    ValueError: cov: not symmetric
jl.Gaussian('x', jnp.eye(2))
    TypeError: mean: expected an array ... str
jl.Gaussian([0.0, jnp.nan], jnp.eye(2))
    ValueError: mean: expected finite values
jl.Gaussian(jnp.zeros(2, jnp.float16), jnp.eye(2, dtype=jnp.float16))
    TypeError: mean, cov: expected float32 or float64, got float16
jl.Gaussian(jnp.zeros(2, jnp.bfloat16), jnp.eye(2, dtype=jnp.bfloat16))
    TypeError: mean, cov: expected float32 or float64, got bfloat16 ... astype(jnp.float32)
G.sample(0, 3)
    TypeError: key: expected a typed key
G.sample(key, 2.5)
    TypeError: num_draws: expected an integer, got 2.5
G.sample(key, 10**10)
    ValueError: num_draws: a key has 4294967296 streams
G.log_prob(jnp.zeros(3))
    ValueError: x: expected float32[2], like the mean, got float32[3]
LAWS.sample(key, 3)
    ValueError: law: expected one law, got a trajectory of 3 ... leaf[k]

# domains

jl.domains.box(1.0, 0.0)
    ValueError: lower: expected bounds below upper, got 1.0 and 0.0
jl.domains.box(0.0, jnp.nan)
    ValueError: upper: expected bounds, got NaN
jl.domains.box('a', 1.0)
    TypeError: lower: expected an array ... str
jl.domains.box(jnp.zeros(3), jnp.ones(2))
    ValueError: upper: shape (2,) does not fit lower, of shape (3,)
jl.domains.box(None, 1.0).contains(X[0])
    ValueError: lower: None does not fit a position that is float32[2]; pass a number
jl.domains.box((0.0, 0.0), (1.0, 1.0)).contains(X[0])
    ValueError: lower: (float32[], float32[]) does not fit a position that is float32[2]; pass
jl.domains.box(jnp.zeros(3), 1.0).contains(X[0])
    ValueError: lower: shape (3,) does not fit a position of shape (2,)
S(Q, jl.projected(0.1, jl.domains.box({'a': 0.0}, {'b': 1.0})), X / 2)
    ValueError: lower: {'a': float32[]} does not fit a position that is float32[2]
jl.domains.torus([1.0, 0.0])
    ValueError: period: expected values above zero, inf for free coordinates; got [1. 0.]
jl.domains.torus('a')
    TypeError: period: expected an array of numbers, got str
S(Q, jl.projected(0.1, jl.domains.torus(jnp.ones(3))))
    ValueError: period: shape (3,) does not fit a position of shape (2,)
jl.domains.torus(jnp.ones(3)).embed(DRAWS)
    ValueError: draws: expected (…, 3) like the periods, got shape (4, 64, 2)
jax.jit(lambda p: jl.domains.torus(p).embed(DRAWS))(1.0)
    TypeError: period: its values are not known under jit, vmap or grad, but which coordinates are angles decides on shapes
jl.domains.ball(0.0, -1.0)
    ValueError: radius: expected values above zero
jl.domains.ball(jnp.nan, 1.0)
    ValueError: center: expected finite values
jl.domains.half_space(jnp.zeros(2), 0.0)
    ValueError: normal: expected a direction, got zeros
jl.domains.half_space(jnp.ones(2), 'x')
    TypeError: offset: expected a real number, got 'x'
jl.domains.simplex().contains(np.array([1, 0, 0]))
    TypeError: position: expected a floating array, got dtype int
jl.domains.simplex().contains((X[0], X[0]))
    TypeError: position: this domain needs a single array
jl.domains.confine(Q, 'box')
    TypeError: domain: 'box' is not a domain
jl.domains.confine(Q, jl.domains.simplex)
    TypeError: domain: got the function simplex itself ... simplex()
jl.domains.confine(Q, jl.domains.simplex())
    TypeError: domain: no move in space ends on a simplex; use jlangevin.mirrored

# exact

jl.exact.law(jl.kernels.ULA, Q, G, 3)
    TypeError: kernel: got the class ULA itself
jl.exact.law(Q, K, G, 3)
    TypeError: kernel: ... is not a kernel
jl.exact.law(K, 3.0, G, 3)
    TypeError: energy: expected a callable
jl.exact.law(K, lambda x: x, G, 3)
    ValueError: energy: expected a scalar for one position, got shape (2,)
jl.exact.law(K, lambda x: np.sum(np.exp(x)), G, 3)
    TypeError: raised by the energy ... jax.numpy (jnp)
jl.exact.law(K, Q, X[0], 3)
    TypeError: start: expected a jlangevin.Gaussian, got ArrayImpl ... Gaussian(x, zeros)
jl.exact.law(K, Q, jl.Gaussian, 3)
    TypeError: start: got the class Gaussian itself ... Gaussian(mean, cov)
jl.exact.law(K, Q, LAWS, 3)
    ValueError: start: expected one law, got a trajectory of 3
jl.exact.law(K, Q, G, -1)
    ValueError: num_steps: expected at least 0, got -1
jl.exact.law(K, Q, G, 2.5)
    TypeError: num_steps: expected an integer, got 2.5
jl.exact.trajectory(K, Q, G, 10**10)
    ValueError: num_steps: ... at most 2147483647 ... got 10000000000; exact.law returns
jl.exact.law(jl.mala(0.1), Q, G, 3)
    jl.NotAffineError: kernel: it asks for Want.UNIFORM ... verify.invariance
jl.exact.law(jl.barker(0.1), Q, G, 3)
    jl.NotAffineError: kernel: it asks for Want.UNIFORM ... verify.invariance
jl.exact.law(jl.sgld(0.1, lambda k, x: x), Q, G, 3)
    jl.NotAffineError: kernel: it asks for Want.KEY ... verify.invariance
jl.exact.law(jl.projected(0.1, jl.domains.box(-1.0, 1.0)), Q, G, 3)
    jl.NotAffineError: kernel: its step is not affine ... Projected has walls ... verify.invariance
jl.exact.law(K, lambda x: jnp.sum(x**4), G, 3)
    jl.NotAffineError: energy: its gradient is not affine ... quadratic and linear energies
jl.exact.law(jl.ula(3.0), Q, G, 3)
    jl.UnstableStepError: step
jl.exact.law(K, Q64, G, 3)
    TypeError: energy: holds float64, made while x64 was enabled
jl.exact.stationary(K, jl.energies.linear([1.0, 1.0]), X[0])
    jl.NoStationaryLawError: energy: ... never settles ... exact.law after a number of steps
jl.exact.stationary(jl.ula(lambda t: 0.1), Q, X[0])
    jl.NoStationaryLawError: kernel: a step that changes with time ... exact.law
jl.exact.stationary(K, Q, jnp.arange(2))
    TypeError: position: expected floating arrays, got dtype int32
jl.exact.stationary(K, Q, {0: X[0], 'a': X[0]})
    ValueError: position: ... keys of a dict ... one type
jl.exact.target(lambda x: -jnp.sum(x**2), X[0])
    jl.NotNormalizableError: energy: its Hessian has the eigenvalue -2 ... exact.law
jl.exact.target(Q, X[0], temperature=-1.0)
    ValueError: temperature: expected values above zero
jl.adaptation.step_size_for(jl.energies.linear([1.0, 1.0]), X[0], bias=0.1)
    jl.NotNormalizableError: energy: the largest eigenvalue of its Hessian is 0 ... exact.law
jl.adaptation.warm_up_within(key, Q, jl.mala(0.1), X, bias=0.1)
    TypeError: kernel: MALA accepts or rejects, and so has no bias; use warm_up
jl.adaptation.warm_up_within(key, Q, jl.ula(0.1), X, bias=2.0)
    ValueError: bias: expected a number in (0, 1)
jl.adaptation.step_size_for(Q, X[0], bias=0.0)
    ValueError: bias: expected values above zero
jl.exact.grid_law(K, lambda x: jnp.sum(x**2), jl.Gaussian(jnp.zeros(3), jnp.eye(3)), 3)
    jl.NoGridLawError: start: a grid is for positions of one element ... has 3 ... ask for the law of one
jl.exact.grid_law(jl.reflected(0.1, jl.domains.box(-1.0, 1.0)), Q, G, 3)
    jl.NoGridLawError: kernel, energy: Reflected has walls ... exact.product_law
jl.exact.grid_law(jl.barker(0.1), Q, G, 3)
    jl.NoGridLawError: kernel: Barker ... asks for more than one normal an element ... ula, tamed_ula, mala
jl.exact.grid_law(K, Q, G, 0)
    ValueError: num_steps: expected at least 1, got 0
jl.exact.grid_law(K, Q, G, 3, within=(0.0, 1.0))
    TypeError: within: expected two numbers, low and high, got 0.0
jl.exact.grid_law(K, lambda x: x[0]**2, G1, 3, full=True)
    jl.NoGridLawError: full: this kernel's state is its position
jl.exact.grid_autocorrelation_time(K, Q, jnp.zeros(2))
    jl.NoGridLawError: function: a position of two elements ... such as lambda x: x[0]
jl.exact.grid_law(K, lambda x: jnp.sum(x**4), X[0], 3)
    TypeError: start: expected a jlangevin.Gaussian ... exact.grid_target
jl.exact.grid_law(K, lambda x: x[0]**2, G1, -1)
    ValueError: num_steps: expected at least 0, got -1
jl.exact.grid_law(K, lambda x: x[0]**2, G1, 3, tolerance=1e-9)
    jl.NoGridLawError: tolerance: 1e-09 ... float32 ... jax_enable_x64
jl.exact.grid_law(K, lambda x: x[0]**2, G1, 3, within=(2.0, 1.0))
    ValueError: within: expected low < high, got 2.0 and 1.0
jl.exact.grid_law(K, lambda x: x[0]**2, G1, 3, within=3)
    TypeError: within: expected two numbers, low and high, got 3
jl.exact.grid_law(jl.reflected(0.1, jl.domains.box(-1.0, 1.0)), lambda x: x[0]**2, G1, 3)
    ValueError: start: some of it is beyond the walls, -1.0 and 1.0; start at a point within them
jl.exact.grid_stationary(jl.ula(lambda t: 0.1), lambda x: x[0]**2, jnp.zeros(1))
    jl.NoGridLawError: kernel: this ULA has a schedule
jl.exact.grid_stationary(jl.underdamped(0.1, 1.0, splitting="UBU"), lambda x: x[0]**2, jnp.zeros(1))
    jl.NoGridLawError: kernel: Underdamped starts with noise of its own ... but not UBU
jl.exact.grid_stationary(jl.coupled(jl.mala(0.1), 1), lambda x: x[0]**2, jnp.zeros(1))
    jl.NoGridLawError: kernel: Coupled asks for
jl.exact.grid_stationary(K, lambda x: x[0]**2, jnp.full(1, jnp.nan))
    ValueError: position: expected a finite one, got nan
jl.exact.grid_autocorrelation_time(jl.ula(0.05), lambda x: x[0]**2, jnp.zeros(1), 3)
    TypeError: function: expected a function of one position, got int
jl.exact.grid_autocorrelation_time(jl.ula(0.05), lambda x: x[0]**2, jnp.zeros(1), lambda x: x)
    ValueError: function: expected a scalar for one position, got shape (1,)
jl.exact.grid_value_and_grad(jl.barker(0.05), lambda x: x[0]**2, jnp.zeros(1))
    jl.NoGridLawError: kernel: a number that Barker draws decides which way
jl.exact.grid_value_and_grad(jl.ula(0.05), lambda x: x[0]**2, jnp.zeros(1), 3)
    TypeError: function: expected a function of one position, got int
jl.exact.grid_relaxation_time(jl.mala(0.1), lambda x: x[0]**4, jnp.zeros(1))
    jl.NoGridLawError: kernel: MALA has no spectral gap ... rejects a share ... grid_autocorrelation_time
jl.exact.grid_target(jl.energies.linear([1.0]), jnp.zeros(1))
    jl.NotNormalizableError: energy: it does not rise on both sides ... within
jl.exact.grid_target(lambda x: x[0] - jnp.log(x[0]), jnp.ones(1), within=(-1.0, 30.0))
    ValueError: energy: it is nan at ... so exp(-E/T) is no density ... domains.confine
jl.exact.grid_hitting_time(jl.ula(0.1), lambda x: x[0]**2, jl.Gaussian(jnp.full(1, -8.0), jnp.zeros((1, 1))), (1.0, 2.0), within=(-3.0, 3.0))
    ValueError: within: the start's mean, -8, is not in it
jl.exact.grid_law(K, Q, jl.Gaussian(jnp.full(2, 9.0), jnp.eye(2)), 3, within=((-3.0, 3.0), (-3.0, 3.0)))
    ValueError: within: the start's mean, [9. 9.], is not in it
jl.exact.grid_target(lambda x: x[0]**2, jnp.zeros(1), temperature=0.0)
    ValueError: temperature: expected values above zero
jl.exact.wasserstein2(G, 3)
    TypeError: q: expected a jlangevin.Gaussian, got int
jl.exact.wasserstein2(jl.Gaussian, G)
    TypeError: p: got the class Gaussian itself
jl.exact.kl(G, LAWS)
    ValueError: q: expected one law, got a trajectory
jl.exact.kl(G, jl.Gaussian(jnp.zeros(3), jnp.eye(3)))
    ValueError: q: expected float32[2], like the mean of p, got float32[3]
jl.exact.affine_map(K, Q, X[0], step=-1)
    ValueError: step: expected at least 0, got -1

# verify

jl.verify.compare(SAMPLES, 3)
    TypeError: law: expected a jlangevin.Gaussian, got int ... exact.law
jl.verify.compare(SAMPLES, jl.Gaussian)
    TypeError: law: got the class Gaussian itself
jl.verify.compare(SAMPLES, Q)
    TypeError: law: expected a jlangevin.Gaussian, got Quadratic
jl.verify.compare(SAMPLES, LAWS)
    ValueError: samples: there are 3 laws, and so as many draws are expected, one of each; got
jl.verify.compare(RUN, G)
    TypeError: samples: got a Run; pass one position per chain, for instance run.position
jl.verify.compare(None, G)
    TypeError: samples: got None ... observe=None
jl.verify.compare(RUN.draws, G)
    ValueError: samples: expected shape (n, 2) to match law.mean, got (4, 8, 2) ... draws[:, -1]
jl.verify.compare(SAMPLES[:, :1], G)
    ValueError: samples: expected shape (n, 2) to match law.mean, got (99, 1)
jl.verify.compare((SAMPLES, SAMPLES), G)
    ValueError: samples: expected a pytree like law.mean
jl.verify.compare(np.array([['a', 'b']] * 5), G)
    TypeError: samples: expected an array of numbers, got dtype <U1
jl.verify.compare(SAMPLES.astype(complex), G)
    TypeError: samples: expected real numbers, got dtype complex64
jl.verify.compare(SAMPLES[:1], G)
    ValueError: samples: 1 finite draws are left of 1; give at least 2
jl.verify.compare(SAMPLES, jl.Gaussian(jnp.zeros(2), jnp.zeros((2, 2))))
    ValueError: law: its covariance is singular ... after at least one step
jl.verify.compare(SAMPLES, G, false_alarm=0)
    ValueError: false_alarm: expected a probability in (0, 1), got 0
jl.verify.compare(SAMPLES, G, false_alarm='rare')
    TypeError: false_alarm: expected a probability in (0, 1), got 'rare'
jl.verify.assert_law(SAMPLES + 9, G)
    AssertionError: the law is REJECTED
jax.jit(lambda x: jl.verify.compare(x, G).passed)(SAMPLES)
    TypeError: samples: its values are not known under jit ... call this outside of them
jax.jit(lambda a: jl.verify.compare(SAMPLES, G, false_alarm=a).passed)(0.1)
    TypeError: false_alarm: its values are not known under jit
jax.jit(lambda k: invariance(key=k).passed)(key)
    TypeError: key: its values are not known under jit
invariance(law=3)
    TypeError: law: expected one that can be drawn from ... got int
invariance(law=X)
    TypeError: law: expected one that can be drawn from ... got ArrayImpl
invariance(law=jl.Gaussian)
    TypeError: law: got the class Gaussian itself
invariance(law=jl.energies.double_well(dim=2))
    jl.NoClosedFormError: law: DoubleWell has no exact sampler
invariance(key=0)
    TypeError: key: expected a typed key
invariance(num_steps=0)
    ValueError: num_steps: expected at least 1, got 0
invariance(kernel=jl.mala)
    TypeError: kernel: got the function mala itself
jl.verify.dkw_radius(0, 0.1)
    ValueError: num_draws: expected at least 1, got 0
jl.verify.dkw_radius(10, 2.0)
    ValueError: false_alarm: expected a probability in (0, 1), got 2.0
streams_independent(jl.kernels.ULA)
    TypeError: kernel: got the class ULA itself
streams_independent(num_steps=2)
    ValueError: num_steps: expected at least 5, got 2
streams_independent(Own(init_noise=None, step_noise=None))
    ValueError: kernel: it asks for no noise
jl.verify.audit(3)
    TypeError: draw: expected a function draw(key, energy, step_size, ... got int; jlangevin.verify.drawer
jl.verify.audit(len, claim='good')
    ValueError: claim: expected None, "exact" or "reversible", got 'good'
jl.verify.audit(len, rules=[1])
    TypeError: rules: expected functions of step size and temperature
jl.verify.audit(len, num_chains=10)
    ValueError: num_chains: expected at least 1000, got 10
jl.verify.audit(len, temperature=2.0)
    ValueError: temperature: at 2 two mistakes ... use for instance 3
jl.verify.audit(lambda h, T: jl.ula(h), num_chains=1000)
    TypeError: raised by draw, given key, energy, step size, T, init and num_steps
jl.verify.audit(lambda k, e, h, T, x, n: None, num_chains=1000)
    TypeError: draw: its positions: expected an array of numbers, got NoneType
jl.verify.audit(lambda k, e, h, T, x, n: 'x', num_chains=1000)
    TypeError: draw: its positions: expected an array of numbers, got str
jl.verify.audit(lambda k, e, h, T, x, n: jl.ula(h), num_chains=1000)
    TypeError: draw: its positions: expected an array of numbers, got ULA
jl.verify.audit(lambda k, e, h, T, x, n: x[:3], num_chains=1000)
    ValueError: draw: expected positions of init's shape (1000, 2), got (3, 2)
jl.verify.audit(lambda k, e, h, T, x, n: (x, x, x), num_chains=1000)
    ValueError: draw: expected positions, or positions and velocities, got 3 things
jl.verify.audit(jl.verify.drawer(lambda h: jl.ula(h)), num_chains=1000)
    TypeError: raised by make_kernel, given step size and T
jl.verify.drawer(jl.ula(0.1))
    TypeError: make_kernel: expected a function of step size and temperature

# diagnostics

jl.diagnostics.ess(RUN)
    TypeError: x: got a Run; pass run.draws
jl.diagnostics.ess(None)
    TypeError: x: got None ... observe=None
jl.diagnostics.ess({'x': DRAWS})
    TypeError: x: expected one array ... ravel_pytree
jl.diagnostics.ess('x')
    TypeError: x: expected one array
jl.diagnostics.rhat(jnp.float32(1.0))
    ValueError: x: expected axes (chain, draw, …), none of them empty, got shape ()
jl.diagnostics.mcse(DRAWS, 'mode')
    ValueError: method: expected one of mean, sd, median, quantile, got 'mode'
jl.diagnostics.mcse(DRAWS, 'quantile')
    ValueError: prob: method="quantile" needs it, as prob=0.9
jl.diagnostics.mcse(DRAWS, 'sd', prob=0.9)
    ValueError: prob: method="sd" does not take it, got 0.9
jl.diagnostics.mcse(DRAWS, 'quantile', prob=90)
    ValueError: prob: expected a probability in (0, 1), got 90
jl.diagnostics.nested_rhat(DRAWS, 3)
    ValueError: superchains: 4 chains, which is not a multiple of 3; give a divisor
jl.diagnostics.nested_rhat(DRAWS, 2.0)
    TypeError: superchains: expected an integer, got 2.0
jl.diagnostics.summary(S(observe=None))
    TypeError: draws: the run did not keep them; pass observe=jlangevin.position
jl.diagnostics.summary(None)
    TypeError: draws: got None; pass observe=jlangevin.position
jl.diagnostics.summary('x')
    TypeError: draws: expected an array of numbers, got str
jl.diagnostics.summary({})
    ValueError: draws: expected axes (chain, draw, …), none of them empty, got {}
jl.diagnostics.summary(DRAWS[0, :, 0])
    ValueError: draws: expected axes (chain, draw, …), got shape (64,); add the chain axis
jl.diagnostics.summary(DRAWS[:1])
    ValueError: draws: expected at least 2 chains ... got 1; run more, for instance with num_chains=4
jl.diagnostics.summary(DRAWS[:, :3])
    ValueError: draws: expected at least 4 draws of each chain, got 3; run longer
jl.diagnostics.summary({'w': DRAWS.at[0, 0, 0].set(jnp.nan)})
    ValueError: draws['w']: expected finite values ... leave out chains or elements
jl.diagnostics.summary({'n': (DRAWS > 0).astype(int)})
    TypeError: draws['n']: expected floats, got int32 ... draws['n'].astype(float)
jl.diagnostics.summary({'a': DRAWS, 'b': DRAWS[:, :9]})
    ValueError: draws['b']: expected chains and draws as in draws['a'], (4, 64), got (4, 9)
jl.diagnostics.summary(DRAWS, superchains=3)
    ValueError: superchains: 4 chains, which is not a multiple of 3
jl.diagnostics.summary(DRAWS, probs=0.5)
    TypeError: probs: expected a tuple of probabilities, as (0.05, 0.95), got 0.5
jl.diagnostics.summary(DRAWS, probs=(0.5, 1.0))
    ValueError: probs: expected a probability in (0, 1), got 1.0
jl.diagnostics.ksd(DRAWS[0], 3.0)
    TypeError: energy: expected a callable x -> scalar, got float
jl.diagnostics.ksd(DRAWS[0], jl.energies.quadratic)
    TypeError: energy: got the function quadratic itself
jl.diagnostics.ksd(DRAWS[0], lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,)
jl.diagnostics.ksd(DRAWS[0], lambda x: jnp.sum(x).astype(int))
    TypeError: energy: expected a real floating value, got dtype int32
jl.diagnostics.ksd(DRAWS[0], lambda x: None)
    ValueError: energy: expected a scalar for one position, got NoneType
jl.diagnostics.ksd(DRAWS[0], lambda x, y: jnp.sum(x))
    TypeError: raised by the energy, given one position float32[2]
jl.diagnostics.ksd(DRAWS[0], lambda x: np.sum(np.exp(x)))
    TypeError: raised by the energy ... jax.numpy (jnp)
jl.diagnostics.ksd(DRAWS[0], lambda x: jnp.sum(jnp.sqrt(x)))
    ValueError: energy: not finite (its value or gradient) at 4
jl.diagnostics.ksd(DRAWS[0])
    TypeError: energy, score: expected one of the two, got neither
jl.diagnostics.ksd(DRAWS[0], Q, score=Q)
    TypeError: energy, score: expected one of the two, got both
jl.diagnostics.ksd(DRAWS[0], score=3.0)
    TypeError: score: expected a function of a position (d,) ... got float
jl.diagnostics.ksd(DRAWS[0], score=jl.scores.score)
    TypeError: score: got the function score itself
jl.diagnostics.ksd(DRAWS[0], score=lambda x: 'x')
    TypeError: score: expected numbers ... got str
jl.diagnostics.ksd(DRAWS[0], score=lambda: 0)
    TypeError: raised by score, given one position float32[2]
jl.diagnostics.ksd(DRAWS[0], score=lambda x: x[:1])
    ValueError: score: expected a score of shape (2,) at a point, got (1,)
jl.diagnostics.ksd(DRAWS[0], Q, statistic='W')
    ValueError: statistic: expected 'V' or 'U', got 'W'
jl.diagnostics.ksd(DRAWS[0], Q, beta=0.5)
    ValueError: beta: expected a number in (-1, 0), got 0.5
jl.diagnostics.ksd(DRAWS[0], Q, c=0.0)
    ValueError: c: expected values above zero
jl.diagnostics.ksd(DRAWS[0][:, 0], Q)
    ValueError: x: expected shape (draw, d) or (chain, draw, d) ... got shape (64,) ... x[..., None]
jl.diagnostics.ksd(DRAWS * jnp.nan, Q)
    ValueError: x: expected finite values
jl.diagnostics.ksd_test(0, DRAWS, Q)
    TypeError: key: expected a typed key
jl.diagnostics.ksd_test(key, DRAWS, Q, flip_probability=0.7)
    ValueError: flip_probability: expected at most 1/2, got 0.7
jl.diagnostics.stein_thinning(DRAWS, Q, 0)
    ValueError: num_points: expected at least 1, got 0
jl.diagnostics.kernel_thinning(0, DRAWS)
    TypeError: key: expected a typed key
jl.diagnostics.kernel_thinning(key, DRAWS, 0)
    ValueError: num_points: expected at least 1, got 0
jl.diagnostics.kernel_thinning(key, DRAWS, 10**6)
    ValueError: num_points: cannot choose 1000000 of
jl.diagnostics.kernel_thinning(key, jnp.zeros((200, 2)))
    ValueError: scale: half of the draws are equal
jl.diagnostics.kernel_thinning(key, DRAWS, 1, scale=-1.0)
    ValueError: scale: expected
jl.diagnostics.kernel_thinning(key, DRAWS.at[0].set(jnp.nan), 1)
    ValueError: x: expected finite values
jl.diagnostics.kernel_thinning(key, jnp.zeros((2, 3, 4, 5)), 1)
    ValueError: x: expected draws of shape
jl.diagnostics.identities(DRAWS, 3.0)
    TypeError: energy: expected a callable
jl.diagnostics.identities(DRAWS, lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,)
jl.diagnostics.identities(DRAWS, Q, center=jnp.ones(3))
    ValueError: center: expected shape (2,), got (3,)
jl.diagnostics.mode_occupancy(DRAWS, Q)
    TypeError: mixture: expected a GaussianMixture (energies.gaussian_mixture), got Quadratic
jl.diagnostics.mode_occupancy(DRAWS, jl.energies.gaussian_mixture)
    TypeError: mixture: got the function gaussian_mixture itself
jl.diagnostics.mode_occupancy(DRAWS[..., :1], MIX)
    ValueError: x: expected draws in 2 dimension(s), like the mixture, got 1
jl.diagnostics.total_variation_bound('20', 10, 0)
    TypeError: meeting_times: expected whole numbers, got dtype <U2
jl.diagnostics.total_variation_bound([20.5, 30.0], 10, 0)
    TypeError: meeting_times: expected whole numbers
jl.diagnostics.total_variation_bound(jnp.array([20, 30]), 10, 2**40)
    ValueError: times: expected numbers below 2**31, got 1099511627776
jl.diagnostics.total_variation_bound(jnp.array([20]), 10, 0)
    ValueError: meeting_times: expected two pairs or more
jl.diagnostics.total_variation_bound(jnp.array([20, -1]), 10, 0)
    ValueError: meeting_times: expected times above the lag 10, got -1
jl.diagnostics.total_variation_bound(jnp.array([20, 30]), 10, -1)
    ValueError: times: expected steps of a chain, 0 or more, got -1
jl.diagnostics.meeting_times(RUN.state.kernel)
    TypeError: state
jl.diagnostics.swap_report(RUN.state.kernel)
    TypeError: state
jl.diagnostics.equalized([1.0, 2.0], [0.5, 0.5])
    ValueError: acceptance: expected shape (1,) or (chain, 1) for 2 temperatures, got (2,)
jl.diagnostics.equalized([1.0, 2.0], [1.5])
    ValueError: acceptance: expected mean rates in [0, 1)
jax.jit(lambda a: jl.diagnostics.equalized([1.0, 2.0], a))(jnp.array([0.5]))
    TypeError: acceptance: its values are not known under jit
jax.jit(lambda m: jl.diagnostics.bias(K, Q, m).predicted)(jnp.zeros(2))
    TypeError: mode: its values are not known under jit
jl.diagnostics.bias(jl.mala(0.1), Q, jnp.zeros(2))
    jl.NotAffineError: kernel: it asks for Want.UNIFORM ... verify.invariance
jl.diagnostics.bias(K, Q, jnp.ones(2))
    jl.NotAModeError: mode: the energy's gradient there is ... Minimise the energy first
jl.diagnostics.bias(K, Q, jnp.zeros(2), draws=DRAWS)
    ValueError: draws
jl.diagnostics.bias(jl.kernels.ULA, Q, jnp.zeros(2))
    TypeError: kernel: got the class ULA itself

# normalizer

log_z(key=0)
    TypeError: key: expected a typed key ... got int
log_z(3.0)
    TypeError: energy: expected a callable x -> scalar, got float
log_z(lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,)
log_z(jl.scores.score(lambda x: -x))
    jl.NoEnergyError: energy: only its score is known
log_z(kernel=jl.mala)
    TypeError: kernel: got the function mala itself
log_z(kernel=K)
    TypeError: kernel: ULA accepts every proposal ... jlangevin.mala
log_z(kernel=jl.gradient_noise(K, jnp.eye(2)))
    TypeError: kernel: ULA accepts every proposal
log_z(kernel=jl.tempered(jl.mala(0.5), [1.0, 2.0]))
    TypeError: kernel: Tempered has a state of its own ... give the kernel inside of it
log_z(kernel=jl.mirrored(jl.mala(0.5), BOX))
    TypeError: kernel: Mirrored has walls ... +inf outside
log_z(kernel=jl.normalizer.switched(jl.mala(0.5), Q, [0.0, 1.0]))
    TypeError: kernel: Switched has no temperature
log_z(kernel=jl.mala(0.5, temperature=lambda t: 1.0))
    ValueError: temperature: expected a number ... one temperature
log_z(base=X)
    TypeError: base: expected one that can be drawn from ... got ArrayImpl
log_z(base=jl.Gaussian)
    TypeError: base: got the class Gaussian itself
log_z(base=jl.Gaussian(jnp.zeros(2), jnp.zeros((2, 2))))
    ValueError: base: a Gaussian with a singular covariance has no density
log_z(base=LAWS)
    ValueError: base: expected one law, got a trajectory
log_z(base=jl.starts.uniform(like=jnp.zeros(2)))
    TypeError: base: the normaliser of Uniform is not known; give a jlangevin.Gaussian
log_z(base=jl.energies.double_well(dim=2))
    jl.NoClosedFormError: base: DoubleWell has no exact sampler
log_z(base=G1)
    ValueError: Quadratic: expected a position of shape (2,), got (1,)
log_z(num_steps=0)
    ValueError: num_steps: expected at least 1, got 0
log_z(levels=[0.0, 1.0])
    ValueError: num_steps, levels: pass one of the two
log_z(num_steps=None, levels=[0.0])
    ValueError: levels: expected at least the two ends
log_z(num_steps=None, levels=[0.0, 0.5, 0.5, 1.0])
    ValueError: levels: expected numbers that rise from 0 to 1, got [0.  0.5 0.5 1. ]
log_z(num_steps=None, levels=[0.1, 1.0])
    ValueError: levels: expected numbers that rise from 0 to 1
log_z(num_chains=1)
    ValueError: log_weights: expected the log weights of two chains or more
log_z(draws=jnp.ones((4, 3)))
    ValueError: Quadratic: expected a position of shape (2,) ... on the way back, init is the draws
log_z(draws=jnp.full((4, 2), jnp.nan))
    ValueError: init ... on the way back, init is the draws
log_z(confidence=1.0)
    ValueError: confidence: expected a probability in (0, 1), got 1.0
log_z(lambda x: jnp.sum(x) * jnp.nan)
    ValueError: log_weights: 8 of 8 weights are NaN or infinite, the first that of chain 0
jax.jit(lambda key: log_z(key=key))(key)
    TypeError: key: its values are not known under jit
jl.normalizer.log_ratio(key, Q, 3.0, jl.mala(0.5), Q)
    TypeError: to: expected a callable x -> scalar, got float
jl.normalizer.path(Q, jl.energies.quadratic, jl.mala(0.5), num_steps=3)
    TypeError: to: got the function quadratic itself
jl.normalizer.path(Q, Q, jl.mala(0.5))
    ValueError: num_steps, levels: pass one of the two
jl.normalizer.switched(jl.mala(0.5), Q, [0.0, 1.0], backwards=1)
    TypeError: backwards: expected True or False
jl.normalizer.jarzynski(RUN)
    TypeError: log_weights: got a Run; pass run.state.kernel.log_weight
jl.normalizer.jarzynski([0.0])
    ValueError: log_weights: expected the log weights of two chains or more, (chain,), got shape (1,)
jl.normalizer.jarzynski('abc')
    TypeError: log_weights: expected an array of numbers
jl.normalizer.bennett([0.0, 1.0], [0.0, jnp.nan])
    ValueError: reverse: 1 of 2 weights are NaN or infinite, the first that of chain 1
jl.normalizer.bennett([-jnp.inf, -jnp.inf], [0.0, 1.0])
    ValueError: forward: all weights are 0
jl.normalizer.bennett([0.0, 1.0], [0.0, 1.0], confidence=99)
    ValueError: confidence: expected a probability
jl.normalizer.multistate(jnp.zeros((4, 9, 3, 2)))
    ValueError: energies: expected shape (chain, draw, state, state), got (4, 9, 3, 2)
jl.normalizer.multistate(jnp.zeros((1, 9, 2, 2)))
    ValueError: energies: expected two chains and two states or more, got 1 and 2
jl.normalizer.multistate(jnp.full((4, 9, 2, 2), jnp.nan))
    ValueError: energies: expected numbers or +inf, got NaN
jl.normalizer.multistate(jnp.full((4, 9, 2, 2), jnp.inf))
    ValueError: energies: a draw of state 0 has the energy +inf there
jl.normalizer.multistate(jnp.zeros((4, 9, 2, 2)), labels=['a'])
    ValueError: labels: expected 2, one a state, got 1
jl.normalizer.tempered_log_z(key, Q, DRAWS, [1.0, 2.0, 3.0], G)
    ValueError: draws: expected leaves of shape (chain, draw, …, 3) ... state.states.position
jl.normalizer.tempered_log_z(key, Q, RUN, [1.0, 2.0], G)
    TypeError: draws: got a Run; pass run.draws
jl.normalizer.thermodynamic(DRAWS, [1.0, 2.0, 3.0])
    ValueError: energies: expected shape (chain, draw, 3) ... got (4, 64, 2)
jl.normalizer.thermodynamic(DRAWS, [2.0, 1.0])
    ValueError: temperatures: expected them to rise
jl.normalizer.thermodynamic(DRAWS.at[0, 0, 0].set(jnp.nan), [1.0, 2.0])
    ValueError: energies: expected finite values
jl.normalizer.tune_ladder(key, Q, jl.mala(0.5), X, num_steps=64)
    TypeError: kernel: expected what jlangevin.tempered makes, got MALA
jl.normalizer.tune_ladder(key, Q, jl.tempered(jl.mala(0.5), [1.0, 2.0]), X, num_steps=10)
    ValueError: num_steps: expected at least 64, got 10
jl.normalizer.tune_ladder(key, Q, jl.tempered(jl.mala(0.5), [1.0, 2.0]), X, num_steps=64, num_temperatures=1)
    ValueError: num_temperatures: expected at least 2, got 1
jl.normalizer.log_likelihood(X, Q, 'x')
    TypeError: log_z: expected a real number, got 'x'
jl.normalizer.log_likelihood(X[:1], Q, 1.0)
    ValueError: data: expected arrays whose first axis counts two items or more
jl.normalizer.log_likelihood(RUN, Q, 1.0)
    TypeError: data: got a Run; pass run.position
jl.normalizer.log_likelihood(X, Q, 1.0, temperature=0.0)
    ValueError: temperature: expected values above zero
jl.normalizer.log_likelihood(X.at[2, 0].set(jnp.nan), Q, 1.0)
    ValueError: data: the energy is not finite at 1 of 4 items, the first of which is row 2

# noise

jl.noise.streams(0, jnp.arange(3))
    TypeError: key: expected a typed key, as jax.random.key(seed) makes it; got int
jl.noise.streams(jax.random.split(key, 3), jnp.arange(3))
    ValueError: key: expected one key, got an array of keys of shape (3,)
jl.noise.streams(key, [0, 0.7])
    TypeError: chains: expected integers, got dtype float64
jl.noise.streams(key, 'all')
    TypeError: chains: expected integers, got dtype <U3
jl.noise.streams(key, [-1])
    ValueError: chains: stream numbers lie in [0, 2**32), got -1
jl.noise.streams(key, [2**32])
    ValueError: chains: stream numbers lie in [0, 2**32), got 4294967296

# conventions

jl.conventions.from_h(-1.0)
    ValueError: h: expected values above zero, got -1.0
jl.conventions.from_h('0.1')
    TypeError: h: expected a real number, got '0.1'
jl.conventions.from_h(jnp.ones(2))
    ValueError: h: expected a scalar, got shape (2,)
jl.conventions.from_noise_scale(0.1, 0.0)
    ValueError: sigma: expected values above zero
jl.conventions.from_noise_scale(None, 1.0)
    TypeError: step_size: expected a real number, got None
jl.conventions.from_proposal_scale(jnp.inf)
    ValueError: sigma: expected finite values, got inf
jl.conventions.from_proposal_scale(1.0, temperature=-1.0)
    ValueError: temperature: expected values above zero

# checkpoints

S(checkpoint=3)
    TypeError: checkpoint: expected the path of a folder, got 3
S(checkpoint=True)
    TypeError: checkpoint: expected the path of a folder, got True
S(checkpoint='')
    ValueError: checkpoint: expected a folder, got "" ... "."
S(checkpoint=tmp / 'file')
    FileExistsError: checkpoint: expected a folder, but ... file is a file; pass another path
S(checkpoint=tmp / 'run', every=0)
    ValueError: every: expected at least 1, got 0
jax.jit(lambda x: S(init=x, checkpoint=tmp / 'run').draws)(X)
    ValueError: checkpoint: ... call sample outside of it

# to_datatree

datatree(S(observe=None))
    ValueError: draws: the run kept no draws; pass observe=
datatree(energy=3.0)
    TypeError: energy: expected a callable
datatree(energy=lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,)
datatree(coords=[0, 1])
    TypeError: coords: expected a dict, got [0, 1]
datatree(coords={'chain': [0, 1]})
    ValueError: coords: 'chain' has 4 place(s), got 2 value(s)
datatree(coords={'dim': ['a', 'b', 'c']}, dims={'x': ['dim']})
    ValueError: coords: 'dim' has 2 place(s), got 3 value(s)
datatree(dims='dim')
    TypeError: dims: expected a dict, got 'dim'
datatree(dims={'x': 'dim'})
    ValueError: dims: expected a list of at most 1 name(s) for 'x' ... got 'dim'
datatree(dims={'x': ['a', 'b', 'c']})
    ValueError: dims: expected a list of at most 1 name(s) for 'x', whose draws have the shape (2,)
datatree(dims={'y': ['a']})
    ValueError: dims: 'y' is not among the variables ['x']

# plot

plot.figure(0)
    ValueError: num_panels: expected at least 1, got 0
plot.figure(1, height=-1.0)
    ValueError: height: expected values above zero
plot.contours(3.0, SPAN)
    TypeError: energy: expected a callable x -> scalar, got float
plot.contours(None, SPAN)
    TypeError: energy: expected a callable x -> scalar, got NoneType
plot.contours(jl.energies.ring, SPAN)
    TypeError: energy: got the function ring itself
plot.contours(lambda x: x, SPAN)
    ValueError: energy: expected a scalar for one position, got shape (2,)
plot.contours(lambda x: np.sum(np.exp(x)), SPAN)
    TypeError: raised by the energy ... jax.numpy (jnp)
plot.contours(lambda x: jnp.sum(jnp.log(x)), SPAN)
    ValueError: energy: expected finite values
plot.contours(Q, 3.0)
    ValueError: span: expected ((from, to), (from, to)), got shape ()
plot.contours(Q, ((1, 0), (0, 1)))
    ValueError: span: expected from < to on both axes
plot.contours(Q, (('a', 'b'), ('c', 'd')))
    TypeError: span: expected an array of numbers
plot.contours(Q, SPAN, temperature=0.0)
    ValueError: temperature: expected values above zero
plot.contours(Q, SPAN, levels=[2.0, 1.0])
    ValueError: levels: expected heights, each above the one before; got [2., 1.]
plot.contours(Q, SPAN, levels='all')
    TypeError: levels: expected an array of numbers, got str
plot.contours(Q, SPAN, ax=FIGURE)
    TypeError: ax: expected one of Matplotlib's Axes, as in ax=axes[0] ... got Figure
plot.contours(Q, SPAN, ax=AXES)
    TypeError: ax: expected one of Matplotlib's Axes ... got list
plot.contours(Q, SPAN, ax='left')
    TypeError: ax: expected one of Matplotlib's Axes ... got str
jax.jit(lambda x: plot.contours(lambda y: jnp.sum((y - x)**2), SPAN))(X[0])
    TypeError: energy: its values are not known under jit ... a picture
plot.trajectory(RUN.draws, 3.0)
    TypeError: energy: expected a callable
plot.trajectory(RUN, Q)
    TypeError: draws: got a Run; pass run.draws
plot.trajectory(DRAWS[..., :1], Q)
    ValueError: draws: a picture of the plane needs d = 2 ... draws[..., :2]
plot.trajectory(jnp.ones((7, 3, 2)), Q)
    ValueError: draws: a picture shows at most 6 paths, got 7 chains; pass draws[:6]
jax.jit(lambda x: plot.trajectory(x, Q))(RUN.draws)
    TypeError: draws: its values are not known under jit ... a picture
plot.score_field(3, SPAN)
    TypeError: energy: expected a callable x -> scalar, got int
plot.score_field(Q, SPAN, num=0)
    ValueError: num: expected at least 1, got 0
plot.density(DRAWS, Q, SPAN, ax=AXES[0])
    TypeError: ax: expected two of Matplotlib's Axes, as in ax=axes[:2] ... got Axes
plot.density(DRAWS, Q, SPAN, ax=AXES)
    TypeError: ax: expected two of Matplotlib's Axes ... got list of 3
plot.density(DRAWS, Q, SPAN, ax=(1, 2))
    TypeError: ax: expected two of Matplotlib's Axes ... got int
plot.density(DRAWS, Q, SPAN, kind='bars')
    ValueError: kind: expected 'histogram' or 'kde', got 'bars'
plot.density(DRAWS, Q, SPAN, bins=0)
    ValueError: bins: expected at least 1, got 0
plot.density(DRAWS + 99, Q, SPAN)
    ValueError: span: none of the 256 draws lies in
plot.cloud(SAMPLES, 3, label='x')
    TypeError: law: expected a jlangevin.Gaussian, got int
plot.cloud(SAMPLES, jl.Gaussian, label='x')
    TypeError: law: got the class Gaussian itself
plot.cloud(SAMPLES, LAWS, label='x')
    ValueError: law: expected one law, got a trajectory of 3
plot.cloud(SAMPLES, G, label='x', color='nocolor')
    ValueError: color: expected a colour ... got 'nocolor'
plot.cloud(SAMPLES, G, label='x', most=-1)
    ValueError: most: expected at least 1, got -1
plot.moment_against_steps([1, 2], ['a', 'b'], [1, 2], [1.0, 2.0], label='x')
    TypeError: measured: expected an array of numbers, got list
plot.moment_against_steps([1, 2], [1.0], [1, 2], [1.0, 2.0], label='x')
    ValueError: measured: expected shape (2,), as steps, got (1,)
plot.moment_against_steps([1], [1.0], [1], [1.0], label='x', color=None)
    ValueError: color: expected a colour ... got None
plot.mean(DRAWS, G)
    ValueError: law: expected a trajectory of laws in 2 dimension(s), as exact.trajectory gives
plot.mean(DRAWS, Q)
    TypeError: law: expected a jlangevin.Gaussian, got Quadratic; exact.trajectory
plot.mean(DRAWS[:, :2], LAWS, coordinates='0')
    TypeError: coordinates: expected an integer, got '0'
plot.mean(DRAWS[:, :2], LAWS, coordinates=[0.0])
    TypeError: coordinates: expected an integer, got 0.0
plot.mean(DRAWS[:, :2], LAWS, coordinates=[2])
    ValueError: coordinates: expected numbers in 0 … 1, got [2]
plot.mean(DRAWS[:, :2], LAWS, coordinates=[])
    ValueError: coordinates: a picture shows 1 to 6, got 0
plot.mean(DRAWS, LAWS)
    ValueError: law: the trajectory ends after 2 steps, but the draws after 64
plot.mean(DRAWS[:, :2], LAWS, steps=[2, 1])
    ValueError: steps: expected numbers from 0 on, each above the one before; got [2., 1.]
plot.mean(DRAWS[:, :2], LAWS, steps=[1])
    ValueError: steps: expected a number for each of the 2 draws, got shape (1,)
plot.mean(DRAWS[:, :2], LAWS, level=1.0)
    ValueError: level: expected a probability in (0, 1), got 1.0
plot.variance(DRAWS[:1], LAWS)
    ValueError: draws: expected shape (chain, draw, d) with at least 2 chain(s)
plot.energy_trace(DRAWS, lambda x: x)
    ValueError: energy: expected a scalar for one position, got shape (2,)
plot.energy_trace(DRAWS, Q, expected='one')
    TypeError: expected: expected a real number, got 'one'
plot.autocorrelation(DRAWS, max_lag=64)
    ValueError: max_lag: 64 draws have no pairs 64 apart
plot.autocorrelation(jnp.ones((2, 9, 1)))
    ValueError: draws: a chain does not move
plot.occupancy(DRAWS, Q)
    TypeError: mixture: expected a GaussianMixture
plot.ksd(DRAWS, 3.0)
    TypeError: energy: expected a callable
plot.ksd(DRAWS[0], Q)
    ValueError: draws: expected shape (chain, draw, …), got (64, 2)
plot.ecdf(SAMPLES, 3)
    TypeError: law: expected a jlangevin.Gaussian or a law with cdf and ppf ... got int
plot.ecdf(SAMPLES, jl.Gaussian)
    TypeError: law: got the class Gaussian itself
plot.ecdf(SAMPLES, G, coordinate=2)
    ValueError: coordinate: samples have 2 dimension(s), numbered from 0; got 2
plot.qq(SAMPLES, G, false_alarm=0)
    ValueError: false_alarm: expected a probability
plot.qq(DRAWS, G)
    ValueError: samples: expected shape (n,) or (n, d), got (4, 64, 2) ... draws[:, -1]
plot.stationary_variance([jl.ula], [0.1])
    TypeError: kernels: expected a dict, {"ULA": jlangevin.ula}, got list
plot.stationary_variance({}, [0.1])
    ValueError: kernels: a picture shows 1 to 12, got 0
plot.stationary_variance({'ULA': K}, [0.1])
    TypeError: kernels['ULA']: expected a function from a step size to a kernel ... got ULA(step_size=0.1
plot.stationary_variance({'ULA': lambda: K}, [0.1])
    TypeError: raised by kernels['ULA'], given a step size
plot.stationary_variance({'ULA': lambda h: h}, [0.1])
    TypeError: kernel: ... is not a kernel
plot.stationary_variance({'ULA': jl.ula}, [])
    ValueError: step_sizes: expected at least one, each above the one before; got []
plot.stationary_variance({'ULA': jl.ula}, [0.2, 0.1])
    ValueError: step_sizes: expected at least one, each above the one before; got [0.2, 0.1]
plot.stationary_variance({'ULA': jl.ula}, [0.1], measured=[1.0])
    TypeError: measured: expected a dict ... got list
plot.stationary_variance({'ULA': jl.ula}, [0.1], measured={'MALA': [1.0]})
    ValueError: measured: ['MALA'] are not among the kernels ['ULA']
plot.animate(DRAWS, Q, seconds=0.0)
    ValueError: seconds: expected values above zero
plot.animate(DRAWS, Q, trail=-1)
    ValueError: trail: expected at least 0, got -1
plot.animate(DRAWS[:1, :3], Q, ax=FIGURE)
    TypeError: ax: expected one of Matplotlib's Axes ... got Figure

# python -m jlangevin

cli('--steps 0')
    SystemExit: --steps: expected at least 1, got 0
cli('--steps 1.5')
    SystemExit: --steps: expected a whole number, got '1.5'
cli('--steps 1e3')
    SystemExit: --steps: expected a whole number, got '1e3'
cli('--steps ten')
    SystemExit: --steps: expected a whole number, got 'ten'
cli('--steps 10 10')
    SystemExit: --steps: expected each number only once, got [10, 10]
cli('--steps 3000000000')
    SystemExit: --steps: a stream has 2147483647 steps, got 3000000000
cli('--chains 1')
    SystemExit: --chains: testing a law needs at least 2 chains
cli('--chains many')
    SystemExit: --chains: expected a whole number, got 'many'
cli('--steps 1 2 --chains 5 6 7')
    SystemExit: --chains: expected 1 or 2 numbers, got 3
cli('--seed 1.5')
    SystemExit: --seed: invalid int value: '1.5'
cli('--seed -1')
    SystemExit: --seed: expected a whole number from 0 to 2**32 - 1, got -1
cli('--seed 99999999999999999999')
    SystemExit: --seed: expected a whole number from 0 to 2**32 - 1
cli('--theta inf')
    SystemExit: --theta: expected finite numbers, got [inf]
cli('--step-size -1')
    SystemExit: --step-size: expected a finite number above zero, got -1.0
cli('--step-size nan')
    SystemExit: --step-size: expected a finite number above zero, got nan
cli('--step-size 1e300')
    SystemExit: --step-size, --theta, --steps: ... must be finite in float32 ... got η = 1e+300
cli('--step-size 1e-50')
    SystemExit: --step-size, --theta, --steps: ... must be finite in float32 ... got η = 1e-50
cli('--theta 1e39')
    SystemExit: --step-size, --theta, --steps: ... must be finite in float32 ... θ = [1e+39]
cli(f'--json {tmp}')
    SystemExit: --json: cannot write ... name another file
cli(f'--plot {tmp}/folder.png')
    SystemExit: --plot: cannot write ... name another file
cli('--json nowhere/a.json')
    SystemExit: --json: there is no folder
cli('--plot a.txt')
    SystemExit: --plot: expected a name that ends in .png, .svg, .pdf
cli(f'--plot {tmp}/x.png --json {tmp}/x.png')
    SystemExit: --json, --plot: expected two files
cli('--what')
    SystemExit: unrecognized arguments: --what

# learn

cd(lambda x: jnp.sum(x**2, axis=1))
    ValueError: energy: it is one of a whole batch, with 4 values for 4 items ... lambda x: energy(x[None])[0]
cd(3.0)
    TypeError: energy: expected a callable x -> scalar, got float
cd(batch=jnp.ones((4, 3)))
    ValueError: expected a position of shape (2,), got (3,) ... one position is an item of batch, float32[4, 3]
cd(batch=(X, jnp.arange(4)))
    TypeError: batch[1]: expected floating arrays, got dtype int32; if these are labels, leave them out
cd(batch=X.at[2, 0].set(jnp.nan))
    ValueError: batch: not finite in 1 of 4 rows, the first of them row 2; leave these rows out
cd(batch=RUN)
    TypeError: batch: got a Run; pass run.position
cd(batch=())
    ValueError: batch: expected arrays whose first axis counts items
cd(batch=jnp.float32(1.0))
    ValueError: batch: expected a first axis that counts items, got a scalar
cd(batch=(X, X[:2]))
    ValueError: batch: expected the same number of items, the first axis: batch[0] has 4, batch[1] has 2
cd(batch='x')
    TypeError: batch: expected an array of numbers
cd(key=0)
    TypeError: key: expected a typed key
cd(num_steps=0)
    ValueError: num_steps: expected at least 1, got 0
cd(num_steps=2.5)
    TypeError: num_steps: expected an integer, got 2.5
cd(kernel=jl.ula)
    TypeError: kernel: got the function ula itself
cd(stop_gradient=1)
    TypeError: stop_gradient: expected True or False, got 1
cd(regularization=-1)
    ValueError: regularization: expected values of zero or more, got -1
cd(lambda x: jnp.sum(x**2), init=jnp.ones((4, 3)))
    ValueError: init: expected float32[2], like an item of the batch; where chains start is not, got float32[3]
cd(jl.scores.score(lambda x: -x))
    jl.NoEnergyError: energy: only its score is known
pcd(X)
    TypeError: buffer: expected the result of jlangevin.learn.replay_buffer ... got ArrayImpl
pcd(jl.learn.Buffer(jnp.ones((4, 3)), G))
    ValueError: buffer: expected float32[2], like an item of the batch; this buffer is of another model ... got float32[3]
pcd(jl.learn.replay_buffer(key, G, 8, kernel=jl.underdamped(0.1, 1.0)))
    ValueError: buffer: beside positions it holds velocity, but ULA goes on with nothing more ... kernel=kernel
jl.learn.replay_buffer(key, G, 8, kernel=3)
    TypeError: kernel: 3 is not a kernel
pcd(num_negatives=99)
    ValueError: num_negatives: 99 chains were asked for, but the buffer has 8
pcd(redraw_rate=1.5)
    ValueError: redraw_rate: expected a probability in [0, 1], got 1.5
jl.learn.replay_buffer(key, X, 3)
    TypeError: start: expected one that can be drawn from ... got ArrayImpl
jl.learn.replay_buffer(key, G, 0)
    ValueError: size: expected at least 1, got 0
jl.learn.maximum_likelihood(key, lambda x: jnp.sum(x**2), X)
    TypeError: energy: expected one that can be drawn from ... got function
jl.learn.maximum_likelihood(key, jl.energies.double_well(), X[:, :1])
    jl.NoClosedFormError: energy: DoubleWell has no exact sampler
jl.learn.denoising_score_matching(key, Q, X, sigma=0.0)
    ValueError: sigma: expected values above zero, got 0.0
jl.learn.denoising_score_matching(None, Q, X, sigma=1.0)
    TypeError: key: expected a typed key ... got NoneType
jl.learn.multiscale_score_matching(key, Q, X, sigmas=[1.0, 0.5])
    TypeError: energy: Quadratic has no levels; pass jlangevin.scores.level_score
jl.learn.multiscale_score_matching(key, jl.scores.level_score(lambda x, s: -x, 1.0), X, sigmas=[0.5, 1.0])
    ValueError: sigmas: expected levels that fall
jl.learn.sliced_score_matching(key, Q, X, num_slices=0)
    ValueError: num_slices: expected at least 1, got 0
jl.learn.noise_contrastive(key, Q, X, noise=X)
    TypeError: noise: expected one that can be drawn from
jl.learn.noise_contrastive(key, Q, X, noise=G1)
    ValueError: noise: expected float32[2], like an item of the batch; its draws are not, got float32[1]
jl.learn.energy_discrepancy(key, Q, X, sigma=-1.0)
    ValueError: sigma: expected values above zero, got -1.0
jl.learn.energy_discrepancy(key, Q, X, sigma=1.0, stabilization=-1.0)
    ValueError: stabilization: expected values of zero or more, got -1.0
fit(optimizer=1e-3)
    TypeError: optimizer: expected one of Optax, such as optax.adam(1e-3), got 0.001
fit(lambda x: jnp.sum(x**2))
    ValueError: energy: expected floating arrays to learn as its leaves; it has none ... jax.tree_util.Partial(f, parameters)
fit(train=lambda name: False)
    ValueError: energy: expected floating arrays to learn as its leaves; train chooses none, out of precision, center
fit(train='center')
    TypeError: train: expected a function of a parameter's name
fit(data=X.at[1].set(jnp.inf))
    ValueError: data: not finite in 1 of 4 rows, the first of them row 1
fit(data=(X, jnp.arange(4)))
    TypeError: data[1]: expected floating arrays, got dtype int32; if these are labels
fit(loss=3)
    TypeError: loss: expected a function, got int
fit(loss=lambda key, energy, batch: 1.0)
    TypeError: loss: expected it to return a pair, a scalar and a jlangevin.learn.Aux
fit(loss=lambda key, energy, batch: (jnp.ones(3), jl.learn.Aux({})))
    ValueError: loss: expected a floating scalar, got float32[3]
fit(loss=lambda key, energy, batch: (energy(X[0]), jl.learn.Aux({'loss': 1.0})))
    ValueError: loss: expected metrics that are scalars, with names other than loss and gradient_norm, got 'loss'
fit(loss=lambda key, energy: 1.0)
    TypeError: takes 2 positional arguments ... raised by the loss, given a key, the energy and a batch
fit(num_updates=0)
    ValueError: num_updates: expected at least 1, got 0
fit(every=0)
    ValueError: every: expected at least 1, got 0
fit(batch_size=0)
    ValueError: batch_size: expected at least 1, got 0
fit(buffer=X)
    TypeError: buffer: expected the result of jlangevin.learn.replay_buffer or None, got ArrayImpl
fit(callback='x')
    TypeError: callback: expected a function, got str
fit(callback=lambda fit: 3)
    TypeError: callback: expected it to return True to stop, or False or None, got 3
fit(progress='yes')
    TypeError: progress: expected True or False, or "always", got 'yes'
jax.jit(lambda x: fit(data=x).num_updates)(X)
    TypeError: key: its values are not known under jit, vmap or grad, but learning stops and goes on by them
"""  # noqa: E501


def parsed(table):
    """Parts of the library, each with its cases: code, kind of error, words."""
    parts = {}
    lines = [line for line in table.splitlines() if line]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("# "):
            cases = parts.setdefault(line[2:], [])
        elif not line.startswith(" "):
            kind, words = following.strip().split(": ", 1)
            cases.append((line, kind, words))
    return parts


CASES = parsed(TABLE)


class State(typing.NamedTuple):
    position: typing.Any


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's own kernel, whose parts can be replaced."""

    init: typing.Any = State
    step: typing.Any = lambda state, noise: (state, jl.Info())
    init_noise: typing.Any = None
    step_noise: typing.Any = jl.noise.Want.NORMAL

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        return (
            (lambda _, *args: value(*args[: 1 if name == "init" else 2]))
            if name
            in (
                "init",
                "step",
            )
            else value
        )


@dataclasses.dataclass
class Plain:
    """A class that JAX knows nothing of."""

    w: typing.Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Model:
    """An energy with parameters, which has no hash."""

    w: typing.Any

    def __call__(self, x):
        return jnp.sum(self.w * x**2)


class Pools:
    """A reducer whose pool takes other arguments."""

    def init(self, state):
        return 0.0

    def update(self, accumulator, state, n):
        return accumulator

    def finish(self, accumulator, n):
        return accumulator

    def pool(self, accumulators):
        return accumulators


def leaky(x, seen=[]):  # noqa: B006
    """An energy that keeps the values of earlier calls."""
    seen.append(x)
    return jnp.sum(x**2) + sum(jnp.sum(y) for y in seen[:-1])


def custom(init=lambda s: 0.0, update=lambda a, s, n: a, finish=lambda a, n: a):
    return jl.reducers.custom(init, update, finish)


def cli(line):
    """Run the command; the error has what it prints on leaving."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main(shlex.split(line))
    except SystemExit:
        raise SystemExit(said.getvalue()) from None


@functools.cache
def names():
    """The names that cases use, except those that each case has for itself."""
    key = jax.random.key(0)
    q, k, x = jl.energies.quadratic(jnp.eye(2)), jl.ula(0.1), jnp.ones((4, 2))
    g = jl.Gaussian(jnp.zeros(2), jnp.eye(2))
    with jax.enable_x64(True):
        x64, q64 = jnp.ones((4, 2)), jl.energies.quadratic(jnp.eye(2))
        g64 = jl.Gaussian(jnp.zeros(2), jnp.eye(2))

    def sample(energy=q, kernel=k, init=x, n=3, *, key=key, **options):
        return jl.sample(fresh(key), energy, kernel, init, num_steps=n, **options)

    def fresh(key):
        is_one = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return jax.random.clone(key) if is_one else key

    def unwatched(energy):
        """Run it without JAX's check of keys, which would refuse such an energy before ours."""
        with jax.debug_key_reuse(False):
            return sample(energy)

    def interrupted():
        """Ctrl-C in the second block."""
        advance, calls = program.advance, []

        def interrupt(*args, **options):
            calls.append(None)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return advance(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(program, "advance", interrupt)
            return sample(n=6, block_steps=2)

    def resume(state, energy=q, kernel=k, num_steps=2, **options):
        return jl.resume(state, energy, kernel, num_steps=num_steps, **options)

    def warm_up(kernel=None, *, key=key, energy=q, init=x, num_steps=200, **options):
        kernel = jl.mala(0.5) if kernel is None else kernel
        return jl.warm_up(fresh(key), energy, kernel, init, num_steps=num_steps, **options)

    def invariance(*, kernel=None, law=q, key=key, num_steps=2):
        kernel = jl.mala(0.5) if kernel is None else kernel
        return jl.verify.invariance(
            kernel, q, law, key=fresh(key), num_steps=num_steps, num_chains=64
        )

    def streams_independent(kernel=k, **options):
        key = jax.random.key(1)
        return jl.verify.assert_streams_independent(kernel, q, jnp.zeros(2), key=key, **options)

    def log_z(energy=q, kernel=None, base=g, *, key=key, num_steps=3, num_chains=8, **options):
        kernel = jl.mala(0.5) if kernel is None else kernel
        options = dict(num_steps=num_steps, num_chains=num_chains, **options)
        return jl.log_normalizer(fresh(key), energy, kernel, base, **options)

    def cd(energy=q, batch=x, *, key=key, **options):
        given = {"kernel": k, "num_steps": 2} | options
        return jl.learn.contrastive_divergence(fresh(key), energy, batch, **given)

    def pcd(buffer=None, **options):
        buffer = jl.learn.replay_buffer(fresh(key), g, 8) if buffer is None else buffer
        given = {"kernel": k, "num_steps": 2} | options
        return jl.learn.persistent_contrastive_divergence(jax.random.key(1), q, x, buffer, **given)

    def fit(energy=q, *, data=x, loss=jl.learn.implicit_score_matching, **options):
        given = {"optimizer": optax.sgd(0.1), "num_updates": 1} | options
        return jl.learn.fit(fresh(key), energy, data, loss, **given)

    run = sample(n=8)
    y = jnp.arange(6.0)

    def item(x, y):
        return 0.5 * jnp.sum((x - y) ** 2)

    def datatree(of=run, **options):
        pytest.importorskip("arviz_base")
        return of.to_datatree(**options)

    figure, axes = jl.plot.figure(3)
    means = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    return {
        "jax": jax,
        "jnp": jnp,
        "np": np,
        "jl": jl,
        "plot": jl.plot,
        "P": P,
        "NamedSharding": NamedSharding,
        "SimpleNamespace": SimpleNamespace,
        "MESH": Mesh(np.array(jax.devices()[:1]), ("chains",)),
        "custom": custom,
        "cli": cli,
        "Q": q,
        "K": k,
        "X": x,
        "G": g,
        "G1": jl.Gaussian(jnp.zeros(1), jnp.eye(1)),
        "X64": x64,
        "Q64": q64,
        "G64": g64,
        "RUN": run,
        "S": sample,
        "resume": resume,
        "warm_up": warm_up,
        "log_z": log_z,
        "invariance": invariance,
        "streams_independent": streams_independent,
        "datatree": datatree,
        "cd": cd,
        "pcd": pcd,
        "fit": fit,
        "item": item,
        "Own": Own,
        "State": State,
        "Plain": Plain,
        "Model": Model,
        "Pools": Pools,
        "leaky": leaky,
        "unwatched": unwatched,
        "interrupted": interrupted,
        "Y": y,
        "MIX": jl.energies.gaussian_mixture(means, jnp.stack([jnp.eye(2)] * 2)),
        "BOX": jl.domains.box(0.0, 1.0),
        "BATCHES": jl.estimators.minibatch(item, y, 2),
        "LAWS": jl.exact.trajectory(k, q, g, 2),
        "SAMPLES": g.sample(jax.random.key(1), 99),
        "DRAWS": jax.random.normal(jax.random.key(2), (4, 64, 2)),
        "SPAN": ((-3, 3), (-3, 3)),
        "FIGURE": figure,
        "AXES": axes,
    }


def outcome(code, kind, words, tmp):
    """What is wrong with what `code` does, or None."""
    kind = eval(kind, names())
    try:
        eval(code, {**names(), "key": jax.random.key(0), "tmp": tmp})
    except (Exception, SystemExit) as error:
        said = "\n".join([str(error), *getattr(error, "__notes__", [])])
        if not isinstance(error, kind):
            return f"raised {type(error).__name__}, not {kind.__name__}: {said}"
        at = 0
        for part in words.split(" ... "):
            at = said.find(part, at)
            if at < 0:
                return f"does not say {part!r}, but: {said}"
            at += len(part)
        return None
    return "was accepted"


@pytest.mark.parametrize("part", CASES)
def test_what_is_refused_names_the_argument_what_was_given_and_what_to_do(
    part, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "available", lambda device: 2**30)  # the same on every machine
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    failed = {}
    for code, kind, words in CASES[part]:
        wrong = outcome(code, kind, words, tmp_path)
        if wrong is not None:
            failed[code] = wrong
    assert not failed, "\n".join(f"{code}\n    {wrong}" for code, wrong in failed.items())


def test_the_table_is_not_cut_short():
    assert sum(map(len, CASES.values())) >= 600
