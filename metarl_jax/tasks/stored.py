"""References of task distributions that nothing can plan for: returns of trained policies.

The command that trained them (``python -m benchmarks.quality references-<family>``) writes ``references.json``.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.records import Reference, Task
from metarl_jax.tasks.priors import elsewhere, of_these, same_prior

FILE = Path(__file__).with_name("references.json")
ROLES = {  # role: how a policy was trained that stands for it
    "optimal": "a policy that is told the task",
    "memoryless": "a policy that sees no task and remembers nothing",
}


@functools.cache
def stored() -> dict[str, Any]:
    """The stored returns of trained policies.

    Returns:
      By family: ``options``, ``command``, ``commit`` and, by role, an episode's return for each seed.
    """
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def stored_references(
    family: str, options: Mapping[str, Any], own: Task | None = None
) -> Callable[..., list[Reference]] | None:
    """``references`` of a distribution from the stored returns of policies that were trained with the same options.

    Values are means over tasks, of the best seed, as measured (240 trials, so they may be lucky by a little); episodes
    count alike, and where a trial ends inside one there are none. What a policy reaches, its role can reach: ``lower``.
    A policy that sees the task may ignore it: ``optimal`` is the best of both. ``memoryless`` is less than
    ``non_adaptive``, which may adapt inside an episode.

    Args:
      family: name of the distribution.
      options: the family's, but for ``num_episodes``.
      own: the tasks, leaves ``[N, ...]``, where they are a finite set; values are of these alone.

    Returns:
      The function, as in ``TaskDistribution``; None where no policies were trained with these options.
    """
    known = stored().get(family)
    if known is None or known["options"] != json.loads(json.dumps(dict(options))):
        return None

    def references(tasks: Task, trial_steps: int, prior: Task | None = None) -> list[Reference]:
        episodes, rest = divmod(trial_steps, options["horizon"])
        if rest:
            return []
        found = []
        for role, how in ROLES.items():
            returns = known[role]
            note = f"PPO, {how}: best of {len(returns)} seeds, an episode {min(returns):.4g} to {max(returns):.4g}"
            most = max(returns + known["memoryless"] if role == "optimal" else returns)
            found.append(Reference(role, "lower", most * episodes, np.full(episodes, most), note))
        if own is not None:
            return of_these(found, tasks, own) if prior is None or same_prior(prior, own) else elsewhere(found)
        return found if prior is None else elsewhere(found)

    return references
