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
# # metarl_jax in five minutes
#
# A *task* is an MDP. A *task distribution* is a set of MDPs that share states and actions and differ in what must be
# found out. A *trial* is all the episodes that an agent spends in one task. A *meta-learner* is trained on many tasks,
# so that in a new one it finds out quickly what matters, and then uses it.
#
# Open this file as a notebook with `jupytext --to ipynb notebooks/quickstart.py`.

# %%
import metarl_jax as mrl

# %% [markdown]
# ## A set of MDPs
#
# One hundred mazes: the same walls, another goal in each. The goal (green) is hidden from the agent, which starts in
# the blue cell, and again there whenever it has found the goal.

# %%
mazes = mrl.tasks.maze_100()
mrl.viz.draw_distribution(mazes)

# %% [markdown]
# A task is a pytree of arrays. A finite set holds them all, with one leading axis.

# %%
print(type(mazes.tasks).__name__, {name: leaf.shape for name, leaf in mazes.tasks._asdict().items()})

# %% [markdown]
# Something smaller to train on: bandits with three arms. Each arm pays 1 with its own probability, which is drawn anew
# for each task; a trial is ten pulls.

# %%
bandits = mrl.tasks.bandit(num_arms=3, num_pulls=10)
mrl.viz.draw_distribution(bandits, num_tasks=4)

# %% [markdown]
# ## Train
#
# RL^2 is a recurrent policy that keeps its memory through the trial and is trained by PPO on whole trials. Its options
# are those of `help(mrl.algorithms.rl2)`. With `out="runs/bandits"` the run is a folder, and the same line continues
# it.

# %%
agent = mrl.algorithms.rl2(memory_size=32, learning_rate=3e-3, num_minibatches=4)
run = mrl.train(agent, bandits, num_updates=60, num_tasks=256)
run

# %%
mrl.viz.plot_metrics(run.metrics)

# %% [markdown]
# ## Evaluate
#
# The report sets the score on new tasks beside what is known exactly: what one could earn with the task known, what
# any agent that has to find it out can earn at best, and what is possible without adapting. Controls are the same
# agent with its memory reset at every episode, and with the memory of another task; if the agent is no better than
# that, the report says so.

# %%
report = mrl.evaluate(run)
report

# %%
mrl.viz.plot_report(report)

# %% [markdown]
# ## Your own environment
#
# Any [gymnax](https://github.com/RobertTLange/gymnax) 1.x environment becomes a task distribution: say how its
# parameters are drawn. Here a car with an engine of unknown strength has to climb a hill.

# %%
import gymnax
import jax

env, params = gymnax.make("MountainCar-v0")


def sample(key):
    return params.replace(force=jax.random.uniform(key, minval=0.0005, maxval=0.003))


cars = mrl.tasks.from_gymnax(env, sample, name="cars", horizon=50, num_episodes=2)
mrl.train(mrl.algorithms.rl2(memory_size=16, num_minibatches=2), cars, num_updates=2, num_tasks=32)

# %% [markdown]
# ## Where to go next
#
# - `mrl.train("rl2", "maze-100", out="runs/mazes")` and `mrl.viz.animate_trial(run, "trial.gif")`: minutes on two CPU
#   cores, and the same lines on a GPU.
# - `mrl.train("ppo", ...)`: the policy without memory, which shows what adapting is worth.
# - `mrl.tasks.from_arrays(P, R, horizon=10)`: your own tabular MDPs, with exact references.
# - `num_seeds=4`: four seeds side by side in one program.
# - `metarl list` and `metarl train rl2 maze-100 --help` on the command line.
