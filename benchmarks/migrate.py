"""Run once: rows as they were stored with ``spread``, by the fields that rows have since. No value is measured here.

Per-seed values come from ``spread``; ratios of two methods are computed again from the per-seed values of both, with
the interval and by the rule of ``record``; seeds that settings were chosen on make ``holds`` unknown where it held.
"""

import json
import re
from pathlib import Path
from typing import Any

import memories
import quality
from full_maze import NOT_ALIKE
from intervals import ERRORS, RUNS
from record import compared, gained, row, seeded
from tables import FIELDS
from transfer import LOOKED_AT_NOTE

RESULTS = Path(__file__).resolve().parent / "results"
UNITS = (  # the first that the row's name has
    (r"minutes", "minutes"),
    (r"[kM] (control |inner environment |environment )?steps/s$|k (steps|frames)/s|Adam instead$", None),
    (r"GFLOP/s$", "GFLOP/s"),
    (r"MiB", "MiB"),
    (r"ms an update", "ms"),
    (r"seconds|: s$", "s"),
    (r"millions of steps of all agents", "M steps"),
    (r"thousands of gradient evaluations", "k gradients"),
    (r"steps to success 0.9(?!, vds)", "steps"),
    (
        r"the same of the actor-critic|the same with lambda|return of |discounted return|: area at its best rate",
        "return",
    ),
    (r"its best rate", "per update"),
    (r"reward a step|the same untrained", "reward per step"),
    (r"highest torso", "m"),
    (r"greatest speed", "m/s or rad/s"),
    (r"m/s$", "m/s"),
    (r"rank correlation", "correlation"),
    (r"standard errors from the truth", "standard errors"),
    (r"s\.e\.", "reward per step"),
    (r"bit-identical ends", "runs"),
    (r"planners against exact values", "return"),
    (r"calibration error", "probability"),
    (r": discount$", "discount"),
    (r"the same by episode", "share"),
    (r"ratio$|over |times the|against|first find", "ratio"),
    (r"share|solved|belief right|success|: S |goals found|drift|finite|regret caught|such a share", "share"),
)
PARTS = (  # names of what a spread held that is no interval
    (r"living, learning", ("living", "learning")),
    (r"against gymnax", ("M steps/s, ours", "of gymnax")),
    (r"share of the matmul rate", ("GFLOP/s", "of the matmul")),
    (r"varibad gridnavi against the published code", ("frames/s", "of the published code")),
    (r"against PyTorch", ("s of PyTorch", "s of ours")),
    (r"MiB, rematerialised", ("keeping all", "rematerialised", "2 tasks at once, too")),
    (r"highest torso", ("lowest", "highest")),
    (r"drift of energy", ("substep", "its half", "its quarter")),
    (r"against Brax spring", ("k steps/s, ours", "of Brax spring")),
    (r"against MuJoCo C", ("k steps/s, ours", "of MuJoCo C")),
    (r"one after the other: ratio", ("s one after the other", "s together")),
    (r"seconds to compile", ("together", "alone")),
    (r"beyond Adam's", ("s of an update", "with Adam instead")),
    (r"beside the published", ("ours", "published")),
    (r"beside JaxUED's", ("ours", "JaxUED's")),
    (r"the same by episode", tuple(f"episode {i}" for i in range(1, 6))),
    (
        r"planners against exact",
        (
            *("bernoulli k=2 n=10", "bernoulli k=5 n=10", "bernoulli k=10 n=10", "bernoulli k=2 n=100"),
            *(f"gridnavi 5x5, {i} episodes" for i in range(1, 5)),
        ),
    ),
)
AT_MOSTS = (
    "minutes|: s$|first find|later episodes|largest difference|before adaptation, absolute|untrained network|"
    "highest torso|greatest speed|ours over it|vds over uniform"
)
SAME_MAZES = "self-tuning's settings for each budget were chosen in the same mazes, at a cost not counted: no claim"
FIXED_RATES = "beside fixed rates alone"
AGAIN = "settings were chosen on these seeds"
TUNED_ONCE = "the actor-critic's settings were chosen and scored on few lives, once: to be measured again by two rounds"


def unit_of(name: str) -> str:
    for pattern, unit in UNITS:
        if found := re.search(pattern, name):
            if unit is not None:
                return unit
            rate = re.search(r"([kM]) (?:control |inner environment |environment )?(steps|frames)/s", name)
            return f"{rate[1]} {rate[2]}/s" if rate else found[0]
    raise ValueError(name)


def bar_of(old: dict[str, Any]) -> dict[str, Any]:
    if old["bar"] is None:
        return {}
    most = re.search(AT_MOSTS, old["row"]) or (
        "standard errors from the truth" in old["row"] and not re.search(r", ES, 5 updates", old["row"])
    )
    return {"at_most" if most else "at_least": old["bar"]}


def comparison(old: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The row again where two methods are compared; None of any other."""
    name, unit, bar = old["row"], unit_of(old["row"]), bar_of(old)
    spread = lambda which: by_name[which]["spread"]
    ratio = lambda ours, theirs, **others: compared(name, ours, theirs, unit, **bar, **others)
    if found := re.match(r"(118 mazes): self-tuning over (PBT|grid|random search), (.*)", name):
        of = lambda method: spread(f"{found[1]}: return of a life, {method}, {found[3]}")
        return ratio(of("self-tuning"), of(found[2]), note=SAME_MAZES)
    if "self-tuning over the best of them" in name:
        of = lambda method: spread(f"118 mazes: return of a life, {method}, whole cost")
        return ratio(of("self-tuning"), of("random search"), note=SAME_MAZES)
    if found := re.match(r"(small mazes), CVaR 1 %: the best curriculum \((\w+)\)", name):
        of = lambda which: spread(f"{found[1]}, {which}: solved, CVaR 1 %")
        return ratio(of(found[2]), of("uniform"))
    if found := re.match(r"(gate, PPO, 819,200 steps): self-paced(, share)?", name):
        of = lambda which: spread(f"{found[1]}: discounted return, {which}")
        return ratio(of("self-paced"), 6.1 if found[2] else of("uniform"))
    if found := re.match(r"(goals shown, maze-100, .*): steps to success 0.9, vds over uniform", name):
        of = lambda which: spread(f"{found[1]}, {which}: steps to success 0.9")
        return ratio(of("vds"), of("uniform"))
    if "over the best lambda's of ten, lowest seed" in name:
        made = compared(
            name.replace(", lowest seed", ""),
            spread("key-to-door, pairwise weights: return of an episode over a life, of 5"),
            by_name["key-to-door, pairwise weights: the same with lambda 1.0"]["value"],
            **bar,
            note=TUNED_ONCE,
        )
        return made
    if "over the best tuned actor-critic's" in name:
        of = "gridnavi paid every 10 steps, intrinsic reward: "
        ours = spread(f"{of}return of an episode over a life")
        return ratio(ours, by_name[f"{of}the same of the actor-critic"]["value"], note=TUNED_ONCE)
    if "share of the best tuned actor-critic's" in name:
        return ratio(old["spread"], 1.0, note=TUNED_ONCE)
    if name.startswith("frozen lpg") and "tuned actor-critic" in name:
        return ratio(old["spread"], 1.0, note=LOOKED_AT_NOTE)
    if re.search(r"share of the best( tuned one)?$", name) and name.startswith("learned optimiser"):
        return ratio(old["spread"], 1.0, note=FIXED_RATES)
    if "ours over it" in name:
        return ratio(old["spread"], 1.0, note=NOT_ALIKE)
    if "share of the best PPO told the task" in name:
        return ratio(old["spread"], 1.0)
    if "less the best PPO without memory" in name:
        return gained(name, old["spread"], 0.0, unit, **bar)
    return None


def of_seeds(old: dict[str, Any]) -> dict[str, Any]:
    name, values = old["row"], old["spread"]
    if name == "rl2 bandit-10x100: minutes a seed":
        values = [seconds / 60 for seconds in values]  # stood there in seconds
    mean = sum(values) / len(values)
    ways: tuple[Any, ...] = (lambda x: sum(x) / len(x)), min, max
    of = min(ways, key=lambda of: abs(of(values) - old["value"]))
    assert abs(of(values) - old["value"]) < 1e-6 * max(1, abs(mean)), (name, mean)
    return seeded(name, values, unit_of(name), of, **bar_of(old)) | dict(value=old["value"])


def plain_row(old: dict[str, Any]) -> dict[str, Any]:
    name, spread = old["row"], old["spread"]
    others: dict[str, Any] = {}
    if spread is not None:
        named = next((names for pattern, names in PARTS if re.search(pattern, name)), None)
        if named is not None:
            others = dict(parts=dict(zip(named, spread, strict=True)))
        else:
            kind = ERRORS if "s.e." in name else RUNS if name.endswith("warm: s") else None
            assert kind is not None, name
            others = dict(interval=[min(spread), max(spread)], interval_kind=kind)
    return row(name, old["value"], unit_of(name), **bar_of(old), **others)


def better_curricula(old: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Two rows, one a curriculum, in place of one for that which was better on the same seeds."""
    where = old["row"].partition(":")[0]
    of = lambda which: by_name[f"{where}, {which}: goals a trial, share of the optimum, goal known"]["spread"]
    return [compared(f"{where}: {which} over uniform", of(which), of("uniform")) for which in ("plr", "sfl")]


def migrated(old: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    if "the better curriculum over uniform" in old["row"]:
        made = better_curricula(old, by_name)
    elif (one := comparison(old, by_name)) is not None:
        made = [one]
    else:
        per_seed = old["seeds"] and old["spread"] and len(old["spread"]) == len(old["seeds"])
        parts = any(re.search(pattern, old["row"]) for pattern, _ in PARTS)
        made = [of_seeds(old) if per_seed and not parts else plain_row(old)]
    chosen_on = None
    words = old["command"].split()
    if words[1].endswith("quality.py"):
        chosen_on = quality.JOBS[words[2]].chosen_on
    elif words[1].endswith("memories.py") and words[2] == "maze":
        chosen_on = memories.CHOSEN_ON
    learned = chosen_on is not None
    common = {field: old[field] for field in ("seconds", "command", "device", "versions", "commit")}
    common |= dict(seeds=old["seeds"] if learned else None, chosen_on=list(chosen_on) if learned else None)
    return [looked_at({field: (one | common)[field] for field in FIELDS}) for one in made]


def looked_at(made: dict[str, Any]) -> dict[str, Any]:
    """Seeds that settings were chosen on can refute a claim, not support it; so can baselines that were tuned less."""
    shared = set(made["seeds"] or ()) & set(made["chosen_on"] or ())
    if shared and made["unit"] not in ("minutes", "s"):
        made["note"] = AGAIN if made["note"] is None else f"{made['note']}; {AGAIN}"
    if made["holds"] and made["note"] not in (None, NOT_ALIKE):
        made["holds"] = None
    return made


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        rows = json.loads(path.read_text())
        by_name = {one["row"]: one for one in rows}
        made = [new for old in rows for new in migrated(old, by_name)]
        path.write_text(json.dumps(made, indent=1) + "\n")
        for new in made:
            old = by_name.get(new["row"])
            if (
                old is None
                or old["holds"] != new["holds"]
                or abs(old["value"] - new["value"]) > 1e-4 * abs(old["value"])
            ):
                before = None if old is None else (old["value"], old["holds"])
                print(f"{new['row']}: {before} -> {new['value']}, {new['interval']}, {new['holds']}")


if __name__ == "__main__":
    main()
