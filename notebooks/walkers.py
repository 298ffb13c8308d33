# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Walking machines whose bodies are the task
#
# Half-cheetah, walker2d and hopper in pure JAX, with the dimensions, masses and gears of MuJoCo's models. Every
# constant of a machine is a leaf of its task, so a batch of tasks is a batch of different machines.

# %%
import jax

import metarl_jax as mrl

# %%
cheetahs = mrl.tasks.cheetah_dir()
mrl.viz.draw_distribution(cheetahs)

# %% [markdown]
# Walkers of different masses (the darker the heavier), and half-cheetahs of which one motor is dead (white).

# %%
walkers = mrl.tasks.walker_dynamics()
mrl.viz.draw_distribution(walkers, num_tasks=4)

# %%
mrl.viz.draw_distribution(mrl.tasks.cheetah_broken())

# %% [markdown]
# ## The machine itself
#
# `metarl_jax.physics` knows nothing of tasks: a body, its constants, positions and velocities, and one function that
# moves them by a control step. It can be jitted, batched and differentiated: here, how far a hopper gets in ten
# control steps by its first control, and by the mass of each of its links.

# %%
from metarl_jax import physics as machines

body = machines.hopper()
start = machines.at_rest(body)


@jax.jit
def distance(physics, controls):
    step = lambda motion, control: (machines.control_step(body, physics, motion, control), None)
    return jax.lax.scan(step, start, controls)[0].position[0]


controls = 0.5 * jax.random.normal(jax.random.key(0), (10, 3))
by_physics, by_control = jax.grad(distance, argnums=(0, 1))(machines.standard(body), controls)
print("m a unit of control:", by_control[0])
print("m a kg:", dict(zip([link.name for link in body.links], by_physics.mass.round(4).tolist(), strict=True)))

# %% [markdown]
# ## Two walking agents
#
# The first example that anyone gives of meta-RL: run forward, or run backward; the reward has to tell which. RL^2
# learns it in some minutes on one CPU core (`python -m benchmarks.quality rl2-cheetah-dir`); here it only starts.

# %%
agent = mrl.algorithms.rl2(memory_size=32, bounding="mean", discount=0.99, learning_rate=1e-3, num_minibatches=2)
short = mrl.tasks.cheetah_dir(horizon=20)
run = mrl.train(agent, short, num_updates=3, num_tasks=16)
mrl.viz.plot_metrics(run.metrics)

# %%
mrl.evaluate(run, trials_per_task=10)

# %% [markdown]
# Both tasks side by side, as a GIF.

# %%
mrl.viz.animate_trial(run, "cheetahs.gif", task_index=(0, 1), stride=2)
