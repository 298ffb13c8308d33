"""Runs mutants against the fast tests of their modules: which of them does no test notice?

    python tests/mutants/run.py --list                 all places, and how many
    python tests/mutants/run.py --sample 300           a seeded sample of them
    python tests/mutants/run.py --named                the committed list (mutants.json)
    python tests/mutants/run.py MODULE:FUNCTION:OPERATOR:INDEX ...

A mutant is killed when a test of its module fails; results go to ``--out`` as they come and are not made again. Mutants
that change nothing, or nothing that is promised, are listed with the reason in ``survivors.json`` and not run unless
they are named.
"""

import argparse
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(HERE.parent)]

import operators  # noqa: E402

TESTS = {  # by the beginning of a module's name, the longest that fits: its fast tests, what is quick first
    "estimators/inner": ["estimators/test_inner.py"],
    "meta_gradients/lifetimes": [
        "meta_gradients/test_bootstrapped_target.py",
        "meta_gradients/test_evolution.py",
        "meta_gradients/test_backprop.py",
    ],
    "meta_gradients/backprop": ["meta_gradients/test_outer_critic.py", "meta_gradients/test_learned_rules.py"],
    "estimators/losses": ["algorithms/test_scales.py"],
    "meta_gradients/outer_critic": ["meta_gradients/test_backprop.py"],
    "algorithms/recurrent/ppo": [
        "algorithms/test_parts.py",
        "meta_gradients/test_outer_critic.py",
        "algorithms/test_scales.py",
    ],
    "algorithms/recurrent/rl2": ["algorithms/test_parts.py", "algorithms/recurrent/test_ppo.py"],
    "algorithms/inference/varibad": ["algorithms/test_parts.py"],
    "algorithms/inference/elbo": ["algorithms/inference/test_varibad.py", "evaluation/test_belief_scores.py"],
    "algorithms/inference/exploration_bonus": ["algorithms/test_parts.py", "algorithms/inference/test_varibad.py"],
    "wrappers/episode_noise": ["algorithms/gradient/test_maesn.py", "algorithms/inference/test_varibad.py"],
    "tasks/features": ["algorithms/inference/test_varibad.py", "tasks/test_features.py"],
    "algorithms/gradient/maml": ["algorithms/test_parts.py", "algorithms/gradient/test_maml.py"],
    "algorithms/gradient/inner_loop": [
        "algorithms/test_parts.py",
        "algorithms/gradient/test_maml.py",
        "estimators/test_inner.py",
    ],
    "algorithms/gradient/outer_loop": ["algorithms/test_parts.py", "algorithms/gradient/test_maml.py"],
    "algorithms/gradient/baseline": [
        "algorithms/test_parts.py",
        "algorithms/gradient/test_maml.py",
        "algorithms/test_scales.py",
    ],
    "algorithms/gradient/maesn": ["algorithms/gradient/test_maesn.py"],
    "algorithms/gradient/maesn_inner": ["algorithms/gradient/test_maesn.py"],
    "algorithms/gradient/maesn_outer": ["algorithms/gradient/test_maesn.py"],
    "algorithms/lifetime/multi_distribution": ["algorithms/lifetime/test_multi_distribution.py"],
    "algorithms/lifetime/lpg": [
        "algorithms/test_parts.py",
        "algorithms/lifetime/test_learned_credit.py",
        "meta_gradients/test_learned_rules.py",
    ],
    "algorithms/lifetime/actor_critic": [
        "algorithms/lifetime/test_self_tuning.py",
        "meta_gradients/test_outer_critic.py",
        "meta_gradients/test_learned_rules.py",
        "meta_gradients/test_backprop.py",
    ],
    "algorithms/lifetime/meta_learner": [
        "meta_gradients/test_bootstrapped_target.py",
        "algorithms/test_parts.py",
        "algorithms/lifetime/test_self_tuning.py",
        "algorithms/lifetime/test_learned_credit.py",
    ],
    "algorithms/lifetime/population": ["algorithms/test_parts.py", "algorithms/lifetime/test_self_tuning.py"],
    "algorithms": [
        "algorithms/lifetime/test_self_tuning.py",
        "algorithms/lifetime/test_learned_credit.py",
        "meta_gradients/test_learned_rules.py",
    ],
    "curricula": ["curricula/test_methods.py"],
    "curricula/task_buffer": ["curricula/test_task_buffer.py", "curricula/test_methods.py"],
    "curricula/scores": ["curricula/test_scores.py"],
    "curricula/return_history": ["curricula/test_adr.py", "curricula/test_methods.py"],
    "curricula/space": ["curricula/test_space.py", "curricula/test_methods.py"],
    "learned": ["learned/test_rules.py", "meta_gradients/test_learned_rules.py"],
    "planning/candidate_bandits": ["planning/test_candidates.py"],
    "planning/dependent_bandits": ["planning/test_bandits.py"],
    "planning/hidden_choice": ["planning/test_candidates.py"],
    "planning/hidden_mdp": ["planning/test_candidates.py"],
    "planning/known_goal": ["planning/test_hidden_goal.py", "planning/test_hidden_task.py"],
    "planning/maze_beliefs": ["planning/test_maze_search.py"],
    "planning/walks": ["planning/test_search.py", "planning/test_maze_search.py"],
    "planning": [],
    "rollout": ["test_rollout.py"],
    "beliefs": ["test_beliefs.py", "evaluation/test_belief_scores.py"],
    "evaluation/summary": ["evaluation/test_summary.py"],
    "evaluation/intervals": ["evaluation/test_intervals.py"],
    "evaluation/adaptation_test": ["evaluation/test_report.py", "evaluation/test_adaptation_test.py"],
    "evaluation/controls": ["evaluation/test_adaptation_test.py"],
    "evaluation/trials": ["evaluation/test_report.py", "evaluation/test_adaptation_test.py"],
    "evaluation/evaluate": ["evaluation/test_adaptation_test.py", "evaluation/test_belief_scores.py"],
}
QUICK = ("planning", "statistics", "intervals", "curricula", "rules", "trials", "verdict", "beliefs", "estimators")


def tests_of(module: str) -> list[str]:
    """The fast tests of a module: its own file where there is one, and those of the table."""
    folder, _, name = module.rpartition("/")
    own = HERE.parent / folder / f"test_{name.strip('_')}.py"
    fits = max((begin for begin in TESTS if module.startswith(begin)), key=len, default=None)
    files = ([own] if own.exists() else []) + [HERE.parent / path for path in (TESTS[fits] if fits else [])]
    return list(dict.fromkeys(str(path) for path in files if path.exists()))


def cost(mutant: operators.Mutant) -> tuple[int, str]:
    """Modules with quick tests first, and the mutants of a module one after the other."""
    return next((i for i, begin in enumerate(QUICK) if mutant.module.startswith(begin)), len(QUICK)), mutant.module


class Finder(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Loads one module from a changed source, all others as they are."""

    def __init__(self, name: str, path: Path, source: str):
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_filename(self, name):
        return str(self.path)

    def get_data(self, path):
        return self.source.encode()


class QuickFirst:
    """A pytest plugin: within each file the tests that took least come first; ``path`` keeps how long they take."""

    def __init__(self, path: Path):
        self.path, self.seconds = path, json.loads(path.read_text()) if path.exists() else {}

    def pytest_collection_modifyitems(self, items):
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda item: (files.index(item.path), self.seconds.get(item.nodeid, 1.0)))

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = round(report.duration, 2)

    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(self.seconds, indent=1) + "\n")


def tested(mutant: operators.Mutant | None, files: list[str], log: Path, seconds: float) -> str:
    """``killed`` (by a test, or as a test file cannot be imported), ``survived``, ``timeout`` or ``no tests`` (pytest
    did not come to them), by a process of its own that starts from what is imported here."""
    log.parent.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        if mutant is not None:
            name = "metarl_jax." + mutant.module.replace("/", ".")
            path = operators.PACKAGE / f"{mutant.module}.py"
            sys.meta_path.insert(0, Finder(name, path, operators.mutated(mutant)[0]))
            for loaded in [m for m in sys.modules if m.startswith("metarl_jax")]:
                del sys.modules[loaded]
        import pytest

        order = QuickFirst(log.with_suffix(".seconds.json"))
        os._exit(int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *files], plugins=[order])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed" if killer(log) else "no tests"
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def killer(log: Path) -> str:
    """The test that failed, or the file that could not be read in."""
    lines = [line.split(" - ")[0] for line in log.read_text().splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return lines[-1].split(" ", 1)[1].removeprefix("tests/") if lines else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mutants", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--named", action="store_true")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules that begin so")
    parser.add_argument("--seconds", type=float, default=300, help="for the tests of one mutant, then it is a timeout")
    parser.add_argument("--out", default=str(Path(tempfile.gettempdir()) / "mutants.json"))
    given = parser.parse_args()
    known = [m for module in operators.modules() if module.startswith(given.only) for m in operators.places(module)]
    if given.list:
        print(*known, f"{len(known)} places", sep="\n")
        return 0
    chosen = [operators.parse(text) for text in given.mutants]
    if given.named:
        chosen += [operators.parse(text) for text in json.loads((HERE / "mutants.json").read_text())]
    chosen += random.Random(given.seed).sample(known, min(given.sample, len(known)))
    import conftest  # noqa: F401 (its settings, and JAX, once for all)
    import flax.linen  # noqa: F401 (what takes long to import, likewise)
    import optax  # noqa: F401
    import scipy.optimize
    import scipy.stats  # noqa: F401

    out = Path(given.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    reasons = {} if given.mutants else json.loads((HERE / "survivors.json").read_text())
    results |= {text: {"result": "equivalent", "reason": reason} for text, reason in reasons.items()}
    for mutant in sorted(chosen, key=cost):
        if str(mutant) in results:
            continue
        files, log, begun = tests_of(mutant.module), out.with_suffix(".log"), time.monotonic()
        verdict = tested(mutant, files, log, given.seconds)
        found = {"result": verdict, "change": operators.mutated(mutant)[1]}
        found |= {"seconds": round(time.monotonic() - begun), "by": killer(log) if verdict == "killed" else ""}
        results[str(mutant)] = found
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{verdict:9} {found['seconds']:4} s {mutant}  {found['change']}  {found['by']}", flush=True)
    mine = [results[str(mutant)]["result"] for mutant in chosen]
    counts = {kind: mine.count(kind) for kind in ("killed", "equivalent", "survived", "timeout", "no tests")}
    print(f"of {len(mine)}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    return 0 if counts["killed"] + counts["equivalent"] == len(mine) else 1


if __name__ == "__main__":
    sys.exit(main())
