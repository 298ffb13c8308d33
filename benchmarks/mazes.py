"""How fast an agent of unsupervised environment design is trained: the full maze at JaxUED's sizes, beside its rate.

An update: 32 mazes x 256 steps, 16 filters and an LSTM of 256 units, 5 epochs of one minibatch. Beside it, in the same
run, its environments and layers where they are installed (``mazes_peer``): machines differ from the published one.
"""

from typing import Any

import jax

import metarl_jax as mrl
from benchmarks import mazes_peer
from benchmarks.record import GFLOPS, beside, living_and_learning, row
from benchmarks.sizes import size
from benchmarks.timing import living_only, shortest, update_of

PUBLISHED = 4600.0  # steps a second of the published code's uniform sampling, on two cores of this kind
JAXUED_TASKS, JAXUED_STEPS = size((32, 256), (4, 8))
JAXUED: dict[str, Any] = dict(
    memory="lstm",
    memory_size=size(256, 4),
    filters=size((16,), (2,)),
    num_epochs=5,
    num_minibatches=1,
    learning_rate=1e-4,
    discount=0.995,
    trace=0.98,
    clip=0.2,
    entropy_cost=1e-3,
    value_cost=0.5,
    max_gradient_norm=0.5,
)


def forward_flops(spec: mrl.records.Spec) -> int:
    """Of a step: the convolution, four gates from inputs and from memory, the heads."""
    (rows, columns, layers), outputs = spec.observation_shape, (spec.num_actions or spec.action_size) + 1
    places, size, filters = (rows - 2) * (columns - 2), JAXUED["memory_size"], JAXUED["filters"][0]
    inputs = places * filters
    return 2 * (places * 9 * layers * filters + 4 * size * (inputs + size) + size * outputs)


def rate_rows(matmul_rate: float, repeats: int = size(5, 1)) -> list[dict[str, Any]]:
    recipe, tasks = mrl.algorithms.recurrent_ppo(**JAXUED), mrl.tasks.view_maze()._replace(trial_steps=JAXUED_STEPS)
    seconds = shortest(update_of(recipe, tasks, JAXUED_TASKS), repeats)
    living = shortest(living_only(recipe, tasks, JAXUED_TASKS), repeats)
    rate = JAXUED_TASKS * JAXUED_STEPS / seconds
    flops = (1 + 3 * JAXUED["num_epochs"]) * forward_flops(tasks.env.spec) * rate
    name = f"full maze, {JAXUED_TASKS} mazes x {JAXUED_STEPS} steps, LSTM {JAXUED['memory_size']}"
    rows = [
        beside(
            f"{name}: steps/s beside the published 4,600: ratio", rate, PUBLISHED, ("ours", "published"), at_least=1.2
        ),
        row(f"{name}: seconds an update (living, learning)", seconds, "s", parts=living_and_learning(living, seconds)),
        beside(f"{name}: share of the matmul rate", flops / 1e9, matmul_rate / 1e9, GFLOPS, unit="share"),
    ]
    try:
        peer = mazes_peer.rate(JAXUED_TASKS, JAXUED_STEPS, JAXUED, repeats)
    except ImportError as error:
        print(f"without JaxUED: {error}")
        return rows
    what = f"{name}: steps/s beside JaxUED's on this machine: ratio"
    return [beside(what, rate, peer, ("ours", "JaxUED's"), at_least=1.2), *rows]


if __name__ == "__main__":
    from benchmarks.speed import matmul_rate

    print(jax.devices())
    for made in rate_rows(matmul_rate()):
        print(made["row"], made["value"], made["parts"])
