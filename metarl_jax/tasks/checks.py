"""Whether a task distribution keeps to its spec: traced before anything is compiled, each mistake named."""

import collections
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, about, check, check_all
from metarl_jax.records import ExactBelief, PyTree, Spec, State, Task, TaskDistribution
from metarl_jax.storage.files import key_data
from metarl_jax.tasks.shapes import a_key, check_flag, check_like, check_not_nan, check_scalar, is_real, traced, typed

METHODS = ("sample_noise", "reset", "step", "observe", "is_truncated")
BATCH = 2  # tasks side by side, to see whether it can be vmapped
passed: collections.deque[TaskDistribution] = collections.deque(maxlen=16)  # the last ones, by identity


def check_tasks(tasks: TaskDistribution) -> None:
    """Compares what the functions of a task distribution return with its ``spec`` and with each other.

    Everything is traced and nothing compiled: milliseconds for small environments. ``train``, ``evaluate``, ``load``
    and ``tune`` call it; each distribution is checked once.

    Args:
      tasks: the distribution, with an environment of your own, say.

    Raises:
      ConfigError: a wrong field; a function that JAX cannot trace or vectorize; a shape, type or structure that is not
        what the spec or another function has; something random that does not come from a key.
    """
    check(isinstance(tasks, TaskDistribution), "tasks", tasks, "give a TaskDistribution")
    if any(tasks is known for known in passed):
        return
    check(isinstance(tasks.name, str) and tasks.name != "", "name", tasks.name, "give the task distribution a name")
    with about(f"tasks {tasks.name!r}"):
        _check_fields(tasks)
        _check_spec(tasks.env.spec)
        task = _check_sample(tasks)
        _check_environment(tasks, task)
        if tasks.recipe is None:  # not one of ours
            _check_options(tasks, task)
            _check_pure(tasks)
    passed.append(tasks)


def _check_fields(tasks: TaskDistribution) -> None:
    lengths = {"horizon": tasks.horizon, "trial_steps": tasks.trial_steps}
    check_all(lengths, lambda x: _is_whole(x) and 1 <= x < 2**31, "must be a whole number of at least 1")
    check(callable(tasks.sample), "sample", tasks.sample, "give a function key -> task")
    for name in ("mutate", "optimum", "best_episode", "target", "references"):
        function = getattr(tasks, name)
        check(function is None or callable(function), name, function, "give a function, or None")
    for name in METHODS:
        has = callable(getattr(tasks.env, name, None))
        check(has, "env", tasks.env, f"lacks {name}: derive it from metarl_jax.tasks.Environment")
    spec = getattr(tasks.env, "spec", None)
    check(isinstance(spec, Spec), "env.spec", spec, "give a metarl_jax.records.Spec")
    parts = {"recipe": Mapping, "belief": ExactBelief, "solved_above": int | float}
    for field, kind in parts.items():
        value = getattr(tasks, field)
        check(value is None or isinstance(value, kind), field, value, "give what TaskDistribution documents, or None")
    longest = getattr(tasks.env, "horizon", tasks.horizon)
    fits = not _is_whole(longest) or longest <= tasks.horizon
    check(fits, "horizon", tasks.horizon, f"must be the longest episode; the environment's last {longest} steps")


def _check_spec(spec: Spec) -> None:
    shape = spec.observation_shape
    fits = isinstance(shape, tuple) and all(_is_whole(n) and n >= 1 for n in shape)
    check(fits, "spec.observation_shape", shape, "give a tuple of whole numbers of at least 1")
    if spec.num_actions is not None:
        fits = _is_whole(spec.num_actions) and spec.num_actions >= 1
        check(fits, "spec.num_actions", spec.num_actions, "must be a whole number of at least 1, or None")
        return
    fits = _is_whole(spec.action_size) and spec.action_size >= 1
    check(fits, "spec.action_size", spec.action_size, "must be at least 1 where num_actions is None")
    for field, bound in {"action_low": spec.action_low, "action_high": spec.action_high}.items():
        fix = f"must be finite numbers, one or {spec.action_size} of them"
        check(_is_bound(bound, spec.action_size), f"spec.{field}", bound, fix)
    below = bool(np.all(np.asarray(spec.action_low) < np.asarray(spec.action_high)))
    check(below, "spec.action_low", spec.action_low, f"must be below action_high={spec.action_high!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_bound(bound: Any, size: int) -> bool:
    try:
        return bool(np.isfinite(np.broadcast_to(np.asarray(bound, np.float64), (size,))).all())
    except (TypeError, ValueError):
        return False


def _check_sample(tasks: TaskDistribution) -> Task:
    """The task's shapes."""
    task = traced("sample", tasks.sample, a_key())
    check(len(jax.tree.leaves(task)) > 0, "sample", task, "returns no array: a task must be a pytree of arrays")
    if tasks.tasks is None:
        return task
    leaves = jax.tree.leaves(tasks.tasks)
    counts = {x.shape[0] if np.ndim(x) else 0 for x in leaves if hasattr(x, "shape")}
    fits = all(hasattr(x, "shape") for x in leaves) and len(counts) == 1 and min(counts) >= 1
    check(fits, "tasks", sorted(counts), "a finite set must have leaves [N, ...], arrays of the same N")
    one = traced("tasks", lambda tasks: jax.tree.map(lambda x: x[0], tasks), tasks.tasks)
    check_like("tasks[0]", one, task, "sample")
    check_not_nan("tasks", tasks.tasks)
    return task


def _check_environment(tasks: TaskDistribution, task: Task) -> None:
    """``sample_noise``, ``reset``, ``step``, ``observe``, ``is_truncated`` of one task."""
    env, spec = tasks.env, tasks.env.spec
    noise = traced("sample_noise", lambda key: env.sample_noise(key, ()), a_key())
    many = traced("sample_noise", lambda key: env.sample_noise(key, (3, BATCH)), a_key())
    ahead = jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, BATCH, *x.shape), x.dtype), noise)
    check_like("sample_noise(key, shape)", many, ahead, "sample_noise(key, ()), after the axes of shape,")
    state = traced("reset", env.reset, noise, task)
    _check_observation(traced("observe", env.observe, state, task), spec)
    step = traced("step", env.step, noise, state, _an_action(spec), task)
    fix = "must return (state, reward, terminated, info), info a dict"
    fits = isinstance(step, tuple) and len(step) == 4 and isinstance(step[3], Mapping)
    check(fits, "step", jax.tree.structure(step), fix)
    reached, reward, terminated, info = step
    check_like("step: state", reached, state, "reset")
    check_scalar("step: reward", reward, "must be one real number")
    check_scalar("step: info['mean_reward']", info.get("mean_reward", reward), "must be one real number")
    check_flag("step: terminated", terminated)
    _check_observation(traced("observe", env.observe, reached, task), spec)
    check_flag("is_truncated", traced("is_truncated", env.is_truncated, reached, task))


def _check_options(tasks: TaskDistribution, task: Task) -> None:
    """What a distribution may offer beside its tasks."""
    steps = tasks.trial_steps
    for field, function in {"mutate": tasks.mutate, "target": tasks.target}.items():
        if function is not None:
            inputs = (a_key(), task) if field == "mutate" else (a_key(),)
            check_like(field, traced(field, function, *inputs), task, "sample")
    if tasks.optimum is not None:
        optimum = tasks.optimum
        found = traced("optimum", lambda task: optimum(task, steps), task)
        check_scalar("optimum", found, "must return one real number")
    if tasks.best_episode is not None:
        found = traced("best_episode", tasks.best_episode, task)
        check_scalar("best_episode", found, "must return one real number")


def _check_pure(tasks: TaskDistribution) -> None:
    """ConfigError where two calls with the same key differ, or where tasks cannot be vmapped.

    They differ by NumPy's or Python's randomness, or counters: JAX traces once and would hold what it saw then.
    """
    step = _one_step(tasks)
    programs = [jax.make_jaxpr(lambda key: step(key), return_shape=True)(a_key()) for _ in range(2)]
    (first, shapes), (second, others) = programs
    alike = written(first) == written(second) and jax.tree.structure(shapes) == jax.tree.structure(others)
    if not alike or not all(map(same, first.consts, second.consts)):
        key = jax.random.key(0)
        for (field, found), again in zip(step(key).items(), step(key).values(), strict=True):
            alike = jax.tree.structure(found) == jax.tree.structure(again)
            alike = alike and all(map(same, jax.tree.leaves(found), jax.tree.leaves(again)))
            fix = "two calls with the same arguments differ: draw what is random by jax.random, from the key given"
            check(alike, field, "random", fix)
    if any(name in written(first) for name in ("callback", "ffi_call")):  # all else can be vmapped
        _check_vmapped(tasks)


def _check_vmapped(tasks: TaskDistribution) -> None:
    """ConfigError where a function can be traced, but not for many tasks at once."""
    env, key = tasks.env, a_key()
    task, noise = jax.eval_shape(tasks.sample, key), jax.eval_shape(lambda key: env.sample_noise(key, ()), key)
    state = jax.eval_shape(env.reset, noise, task)
    calls = {
        "sample": (tasks.sample, key),
        "reset": (env.reset, noise, task),
        "step": (env.step, noise, state, _an_action(env.spec), task),
        "observe": (env.observe, state, task),
        "is_truncated": (env.is_truncated, state, task),
    }
    many = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct((BATCH, *x.shape), x.dtype), tree)
    for field, (function, *inputs) in calls.items():
        traced(f"{field}, of many tasks at once", jax.vmap(function), *map(many, inputs))


def _one_step(tasks: TaskDistribution) -> Callable[[jax.Array], dict[str, PyTree]]:
    """``key -> what each function returns``, in the order in which they are called."""
    env, sample = tasks.env, unjitted(tasks.sample)

    def step(key: jax.Array) -> dict[str, PyTree]:
        task, noise = sample(key), env.sample_noise(key, ())
        state: State = env.reset(noise, task)
        action = jnp.zeros(_an_action(env.spec).shape, _an_action(env.spec).dtype)
        found = {"sample": task, "sample_noise": noise, "reset": state, "observe": env.observe(state, task)}
        return found | {"step": env.step(noise, state, action, task)[:3]}

    return step


def unjitted(function: Callable) -> Callable:
    """A function as it was before ``jax.jit``, which traces it once and so hides that it is random.

    Args:
      function: compiled or not.

    Returns:
      The function below ``jax.jit``; ``function`` itself where it is not compiled.
    """
    return getattr(function, "__wrapped__", function) if isinstance(function, jax.stages.Wrapped) else function


def written(program: Any) -> str:
    """A program as text, without addresses of objects.

    Args:
      program: a closed jaxpr.

    Returns:
      The text, the same for two traces of one deterministic function.
    """
    return re.sub(r"0x[0-9a-f]+", "", str(program.jaxpr))


def same(one: Any, other: Any) -> bool:
    """Whether two arrays (or typed keys) have the same bits.

    Args:
      one: an array.
      other: an array.

    Returns:
      A boolean.
    """
    return one is other or key_data(one).tobytes() == key_data(other).tobytes()


def _an_action(spec: Spec) -> jax.ShapeDtypeStruct:
    if spec.num_actions is not None:
        return jax.ShapeDtypeStruct((), jnp.int32)
    return jax.ShapeDtypeStruct((spec.action_size,), jnp.float32)


def _check_observation(seen: Any, spec: Spec) -> None:
    fix = f"must return one array of spec.observation_shape={spec.observation_shape}"
    check(hasattr(seen, "shape"), "observe", jax.tree.structure(seen), f"{fix}: concatenate what it consists of")
    if seen.shape != spec.observation_shape or not is_real(seen):
        raise ConfigError(f"observe={typed(seen)}: {fix}, of real numbers")
