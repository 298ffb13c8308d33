"""How fast an update rule is meta-learned: LPG at the published sizes, beside the published JAX code's rate."""

from typing import Any

import jax
from record import row
from timing import shortest, update_of

import metarl_jax as mrl

AGENTS, WORKERS, STEPS, UPDATES, SIZE, PREDICTIONS = 16, 64, 20, 5, 256, 30
PUBLISHED = 0.142  # meta-updates a second on two cores of this kind, at these sizes
FEATURES = mrl.rules.lpg.FEATURES


def recipe() -> Any:
    return mrl.algorithms.lpg(
        memory_size=SIZE,
        predictions=PREDICTIONS,
        episodes=WORKERS,
        steps=STEPS,
        window=UPDATES,
        life=20 * UPDATES,
        block=4,
    )


def rate_rows(matmul_rate: float, repeats: int = 3) -> list[dict[str, Any]]:
    """An update: 16 agents of 64 workers, 20 steps and an inner update five times over, and the step on the rule."""
    tasks = mrl.tasks.grids(kind="random")
    seconds = shortest(update_of(recipe(), tasks, AGENTS), repeats)
    steps = AGENTS * WORKERS * STEPS * UPDATES
    # A step forward: gates of an LSTM from memory and from inputs, heads; three times as much with the gradient.
    forward = 2 * SIZE * (4 * (SIZE + FEATURES) + 1 + PREDICTIONS)
    share = 3 * forward * steps / seconds / matmul_rate
    speeds = [1 / seconds, PUBLISHED]
    name = f"lpg, {AGENTS} agents x {WORKERS} workers x {STEPS} steps x {UPDATES} updates, LSTM {SIZE}"
    return [
        row(f"{name}: updates/s beside the published 0.142: ratio", speeds[0] / PUBLISHED, speeds, 1.5),
        row(f"{name}: k environment steps/s", steps / seconds / 1e3),
        row(f"{name}: share of the matmul rate", share, [3 * forward * steps / seconds / 1e9, matmul_rate / 1e9]),
    ]


if __name__ == "__main__":
    from speed import matmul_rate

    print(jax.devices())
    for made in rate_rows(matmul_rate()):
        print(made["row"], made["value"], made["spread"])
