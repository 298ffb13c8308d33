"""How fast an update rule is meta-learned: LPG at the published sizes, beside the published JAX code's rate."""

from typing import Any

import jax

import metarl_jax as mrl
from benchmarks.record import GFLOPS, beside, row
from benchmarks.sizes import size
from benchmarks.timing import shortest, update_of

AGENTS, WORKERS, STEPS, UPDATES, SIZE, PREDICTIONS = size((16, 64, 20, 5, 256, 30), (2, 2, 4, 2, 4, 2))
PEER = "ours", "published"
PUBLISHED = 0.142  # meta-updates a second on two cores of this kind, at these sizes
FEATURES = mrl.learned.lpg_rule.FEATURES


def recipe() -> Any:
    return mrl.algorithms.lpg(
        memory_size=SIZE,
        predictions=PREDICTIONS,
        episodes=WORKERS,
        steps=STEPS,
        window=UPDATES,
        life=20 * UPDATES,
        block=size(4, 1),
    )


def rate_rows(matmul_rate: float, repeats: int = size(3, 1)) -> list[dict[str, Any]]:
    """An update: 16 agents of 64 workers, 20 steps and an inner update five times over, and the step on the rule."""
    tasks = mrl.tasks.grids(kind="random")
    seconds = shortest(update_of(recipe(), tasks, AGENTS), repeats)
    steps = AGENTS * WORKERS * STEPS * UPDATES
    # A step forward: gates of an LSTM from memory and from inputs, heads; three times as much with the gradient.
    forward = 2 * SIZE * (4 * (SIZE + FEATURES) + 1 + PREDICTIONS)
    rate = 3 * forward * steps / seconds
    name = f"lpg, {AGENTS} agents x {WORKERS} workers x {STEPS} steps x {UPDATES} updates, LSTM {SIZE}"
    return [
        beside(f"{name}: updates/s beside the published 0.142: ratio", 1 / seconds, PUBLISHED, PEER, at_least=1.5),
        row(f"{name}: k environment steps/s", steps / seconds / 1e3, "k steps/s"),
        beside(f"{name}: share of the matmul rate", rate / 1e9, matmul_rate / 1e9, GFLOPS, unit="share"),
    ]


if __name__ == "__main__":
    from benchmarks.speed import matmul_rate

    print(jax.devices())
    for made in rate_rows(matmul_rate()):
        print(made["row"], made["value"], made["parts"])
