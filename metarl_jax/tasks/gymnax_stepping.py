"""gymnax environments whose ``step`` does not restart episodes: the trial loop does, and must see how they ended."""

import functools
from typing import Any

from metarl_jax.config import ConfigError, check
from metarl_jax.tasks.as_gymnax import GymnaxInterface


def going_on(env: Any) -> Any:
    """A copy of an environment whose ``step`` does not restart an episode where it ends.

    It returns ``(observation, state, reward, terminated, truncated, info)`` as they are there. gymnax's ``step``
    restarts, and wrappers override ``reset`` and ``step`` (``reset_env`` and ``step_env`` reach past them). So the
    innermost environment gets a step without restart, below copies of its wrappers.

    Args:
      env: gymnax's, wrapped or not, or ours with gymnax's interface.

    Returns:
      The copy.

    Raises:
      ConfigError: a wrapper overrides ``is_truncated`` or ``is_terminated``, or a method that reaches past wrappers
        below it.
    """
    check(hasattr(env, "__dict__"), "env", env, "must be an object with attributes")
    kind, held = type(env), vars(env)
    if "_env" not in held or issubclass(kind, _roots()):
        return _copied(env, _without_restart(kind))
    if hasattr(kind, "reset") or hasattr(kind, "step"):
        return _copied(env, kind, _env=going_on(held["_env"]))
    for method in ("is_truncated", "is_terminated"):
        check(not hasattr(kind, method), "env", kind.__name__, f"overrides {method}, which gymnax does not ask: step")
    if hasattr(kind, "reset_env") or hasattr(kind, "step_env"):
        fix = "overrides reset_env or step_env, which reach past the wrappers below it: override reset and step"
        check(issubclass(type(held["_env"]), _roots()), "env", kind.__name__, fix)
        return _copied(env, _without_restart(kind))
    return _copied(env, kind, _env=going_on(held["_env"]))


@functools.cache
def _roots() -> tuple[type, ...]:
    """Environments of gymnax, and ours with its interface: their ``step`` calls their ``step_env``."""
    from gymnax.environments.environment import Environment  # loads pandas and matplotlib

    return Environment, GymnaxInterface


def _copied(env: Any, kind: type, **changes: Any) -> Any:
    """A copy of an environment, of another class or with other attributes.

    Not by ``copy.copy``, which wrappers that pass on every attribute do not survive.
    """
    copy = object.__new__(kind)
    vars(copy).update(vars(env), **changes)
    return copy


@functools.cache
def _without_restart(kind: type) -> type:
    """A subclass with a step that does not restart, in the place of its root's.

    A step of its own that calls that one is still called. ``stepped``: whether it was.
    """
    root: Any = next((root for root in _roots() if issubclass(kind, root)), object)

    class GoingOn(root):
        stepped = False

        def reset(self, key, params=None):
            return self.reset_env(key, _given(self, params))

        def step(self, key, state, action, params=None):
            self.__dict__["stepped"] = True  # whatever __setattr__ it has
            observation, state, reward, terminated, info = self.step_env(key, state, action, _given(self, params))
            truncated = self.is_truncated(state, params)
            ends = {"terminated": terminated, "truncated": truncated, "final_observation": observation}
            return observation, state, reward, terminated, truncated, {**info, **ends}

    return type(kind.__name__, (GoingOn,) if issubclass(GoingOn, kind) else (kind, GoingOn), {})


def _given(env: Any, params: Any) -> Any:
    """The params, or a ConfigError: defaults would make all tasks the same."""
    if params is None:
        raise ConfigError(f"env={name_of(env)!r}: a wrapper does not hand params on: step(key, state, action, params)")
    return params


def name_of(env: Any) -> str:
    """The name of an environment, for messages.

    Args:
      env: an environment.

    Returns:
      Its ``name``, or that of its class.
    """
    return getattr(env, "name", type(env).__name__)
