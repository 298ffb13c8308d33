"""The treasure hunt: its references against agents that play them, and what its options refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.config import ConfigError
from metarl_jax.records import Policy
from metarl_jax.rollout import rollout
from metarl_jax.tasks import treasure

STAY, UP, RIGHT, DOWN, LEFT = range(5)


@functools.cache
def known() -> dict:
    tasks = treasure()
    return {r.role: r for r in tasks.references(tasks.tasks, tasks.trial_steps)}


def way(env, goal: int) -> np.ndarray:
    """For each cell the first action of a shortest path to ``goal``."""
    distance = np.full(env.pay.size, 10**6)
    distance[goal] = 0
    for _ in range(env.pay.size):
        distance = np.minimum(distance, distance[env.next_state].min(axis=1) + 1)
    return np.where(distance == 0, STAY, distance[env.next_state].argmin(axis=1))


def climber(tasks, look: bool) -> Policy:
    """Climbs to the peak, reads the treasure's place off the observation, and goes there in every episode.

    It is given observations alone. With ``look`` False it climbs in no episode but stays in the camp.
    """
    env = tasks.env
    size = env.rows + env.columns
    peak, camp = (int(np.flatnonzero(env.letters.ravel() == letter)[0]) for letter in "PC")
    ways = jnp.asarray(np.stack([way(env, goal) for goal in range(env.pay.size)]))

    def cell(one_hot):
        row, column = one_hot[..., : env.rows].argmax(-1), one_hot[..., env.rows :].argmax(-1)
        return row * env.columns + column

    def step(params, memory, timestep):
        here, there = timestep.observation[..., :size], timestep.observation[..., size:]
        memory = jnp.where(there.sum(-1) > 0, cell(there), memory)
        goal = jnp.where(memory >= 0, memory, peak if look else camp)
        actions = ways[goal, cell(here)]
        return memory, (50.0 * jax.nn.one_hot(actions, 5), jnp.zeros(actions.shape))

    actions = mrl.networks.actor_critic(env.spec, "none", 1, (), False).actions
    return Policy(lambda key: (), lambda batch: jnp.full(batch, -1), step, None, actions)


def live(tasks, policy) -> np.ndarray:
    """The mean return of each episode ``[E]`` over all sites."""
    _, trajectory = rollout(jax.random.key(0), tasks.env, policy, (), tasks.tasks, tasks.trial_steps, greedy=True)
    return np.asarray(trajectory.reward).mean(axis=1).reshape(-1, tasks.horizon).sum(axis=1)


def test_the_bayes_optimal_agent_climbs_once_and_then_goes_straight():
    tasks, bayes, optimal = treasure(), known()["bayes"], known()["optimal"]
    np.testing.assert_allclose(bayes.by_episode[1:], optimal.by_episode[1:], atol=1e-5)
    np.testing.assert_allclose(live(tasks, climber(tasks, look=True)), bayes.by_episode, atol=1e-4)


def test_what_looking_is_worth():
    """Twice the return of searching; with short episodes still more, though it costs in the first of them."""
    blind = known()["without_map"]
    assert [round(float(known()[r].trial_return), 2) for r in ("bayes", "without_map", "non_adaptive")] == [
        38.0,
        18.17,
        20.0,
    ]
    brief = treasure(horizon=12)
    found = {r.role: r.by_episode for r in brief.references(brief.tasks, brief.trial_steps)}
    assert found["bayes"][0] < found["without_map"][0] and found["bayes"].sum() > 1.5 * found["without_map"].sum()
    tasks = treasure()
    camped = live(tasks, climber(tasks, look=False))
    np.testing.assert_allclose(camped, 0.02 * (tasks.horizon - 1), rtol=1e-5)
    assert 0 < camped[0] < blind.by_episode[0]


def test_without_a_cost_looking_is_free_and_without_a_peak_worth_nothing():
    cheap, dear = (treasure(climb_cost=cost) for cost in (0.0, 1.0))
    returns = [
        {r.role: r.by_episode for r in tasks.references(tasks.tasks, tasks.horizon * 2)} for tasks in (cheap, dear)
    ]
    np.testing.assert_allclose(returns[0]["bayes"][0] - returns[1]["bayes"][0], 3.0, atol=1e-9)  # 2 steps up, 1 down
    np.testing.assert_allclose(returns[0]["optimal"], returns[1]["optimal"])
    layout = "#######\n#T.S.T#\n#..C..#\n#######"
    flat = treasure(layout=layout, horizon=6, num_episodes=2)
    found = {r.role: r for r in flat.references(flat.tasks, flat.trial_steps)}
    np.testing.assert_allclose(found["bayes"].by_episode, found["without_map"].by_episode)


def test_a_trial_that_ends_inside_an_episode_has_no_references():
    tasks = treasure()
    assert tasks.references(tasks.tasks, tasks.trial_steps + 1) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"horizon": 0}, "horizon"),
        ({"climb_cost": -1.0}, "climb_cost"),
        ({"camp_reward": 1.0}, "camp_reward"),
        ({"layout": "####\n#ST\n####"}, "one length"),
        ({"layout": "#####\n#S.TT\n#####"}, "border"),
        ({"layout": "######\n#STTX#\n######"}, "unknown letters"),
        ({"layout": "######\n#.TT.#\n######"}, "one start"),
        ({"layout": "######\n#S.T.#\n######"}, "two sites"),
        ({"layout": "######\n#ST#T#\n######"}, "reachable"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        treasure(**options)
