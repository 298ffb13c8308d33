"""The update rules that come with the package, in a training loop that knows nothing of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax as mrl
from metarl_jax.learned.lpg_rule import RuleInputs, agent_loss

STATES, ACTIONS, STEPS, EPISODES, UPDATES = 6, 3, 12, 8, 30


def world(seed: int):
    """(transition, reward, the optimal return of an episode) of a random MDP."""
    random = np.random.default_rng(seed)
    transition = random.dirichlet(np.full(STATES, 0.3), (STATES, ACTIONS))
    reward, value = random.normal(size=(STATES, ACTIONS)), np.zeros(STATES)
    for _ in range(STEPS):
        value = (reward + transition @ value).max(axis=1)
    return transition, reward, value[0]


def trajectory(random, transition, policy):
    """States ``[T + 1, E]`` and actions ``[T, E]`` of episodes side by side."""
    draw = lambda chances: (random.random((EPISODES, 1)) < chances.cumsum(axis=1)).argmax(axis=1)
    states, actions = [np.zeros(EPISODES, int)], []
    for _ in range(STEPS):
        actions.append(draw(policy[states[-1]]))
        states.append(draw(transition[states[-1], actions[-1]]))
    return np.stack(states), np.stack(actions)


@pytest.mark.parametrize("name", mrl.learned.rules.available())
def test_shipped_rules_train_in_a_loop_of_others(name):
    rule, options = mrl.learned.rules.load(name), mrl.learned.rules.read(name)["config"]["algorithm"]["options"]
    optimizer = optax.rmsprop(options["learning_rate"], decay=0.99, eps=1e-5, eps_in_sqrt=True)

    def loss(params, wanted, states, actions):
        chosen = jax.nn.log_softmax(params["policy"])[states[:-1], actions]
        return agent_loss(wanted, chosen, params["predictions"][states[:-1]], options["agent_prediction_cost"])

    @jax.jit
    def update(params, moments, states, actions, reward, progress):
        y = jax.nn.softmax(params["predictions"])
        chance = jax.nn.softmax(params["policy"])[states[:-1], actions]
        last = jnp.zeros(reward.shape, bool).at[-1].set(True)
        life = jnp.float32(np.log(UPDATES) if options["lifetime"] else 0.0)
        now, following = y[states[:-1]], y[states[1:]]
        wanted = rule(RuleInputs(reward, jnp.ones_like(reward), last, chance, now, following, progress, life))
        updates, moments = optimizer.update(jax.grad(loss)(params, wanted, states, actions), moments)
        return optax.apply_updates(params, updates), moments

    shares = []
    for seed in range(6):
        random, (transition, reward, best) = np.random.default_rng(100 + seed), world(seed)
        params = {"policy": jnp.zeros((STATES, ACTIONS)), "predictions": jnp.zeros((STATES, options["predictions"]))}
        moments, earned = optimizer.init(params), []
        for i in range(UPDATES):
            states, actions = trajectory(random, transition, np.asarray(jax.nn.softmax(params["policy"]), float))
            gained = reward[states[:-1], actions]
            earned.append(gained.sum(axis=0).mean())
            age = jnp.float32(i / UPDATES if options["lifetime"] else 0.0)
            params, moments = update(params, moments, states, actions, jnp.asarray(gained, jnp.float32), age)
        shares.append((np.mean(earned[:2]) / best, np.mean(earned[-5:]) / best))
    before, after = np.mean(shares, axis=0)
    print(f"{name}: {before:.2f} of the optimum at first, {after:.2f} after {UPDATES} updates")
    assert before < 0.5 and after > 0.8


def test_shipped_rules_are_small_and_say_what_made_them():
    assert mrl.learned.rules.available()
    for name in mrl.learned.rules.available():
        assert (mrl.learned.rules.SHELF.folder / f"{name}.json").stat().st_size < 2**20
        found = mrl.learned.rules.read(name)
        assert found["config"]["algorithm"]["name"] in mrl.learned.rules.SHELF.learners
        assert len(found["curve"]) == found["config"]["num_updates"]
