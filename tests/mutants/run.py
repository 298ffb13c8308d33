"""Runs mutants against the fast tests of their modules: which of them does no test notice?

    python tests/mutants/run.py --list                 all places, and how many
    python tests/mutants/run.py --sample 300           a seeded sample of them
    python tests/mutants/run.py --named                the committed list (mutants.json)
    python tests/mutants/run.py MODULE:FUNCTION:OPERATOR:INDEX ...

A mutant is killed when a test of its module fails; results go to ``--out`` as they come and are not made again.
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

SECONDS = 240  # for the tests of one mutant
TESTS = {  # by the beginning of a module's name, the longest that fits: its fast tests
    "estimators/inner": ["estimators/test_inner.py"],
    "estimators/lives": ["estimators/test_backprop.py", "estimators/test_evolution.py"],
    "estimators/backprop": ["estimators/test_backprop.py", "estimators/test_rules.py", "estimators/test_critic.py"],
    "algorithms/_ppo": ["algorithms/test_ppo.py"],
    "algorithms/rl2": ["algorithms/test_ppo.py"],
    "algorithms/varibad": ["algorithms/test_varibad.py"],
    "algorithms/_beliefs": ["algorithms/test_varibad.py", "test_believed.py"],
    "algorithms/_novelty": ["algorithms/test_varibad.py"],
    "algorithms/_held_noise": ["algorithms/test_varibad.py"],
    "algorithms/_task_vectors": ["algorithms/test_varibad.py"],
    "algorithms/maml": ["algorithms/test_maml.py"],
    "algorithms/_adaptation": ["algorithms/test_maml.py", "estimators/test_inner.py"],
    "algorithms/_outer": ["algorithms/test_maml.py"],
    "algorithms/_baseline": ["algorithms/test_maml.py"],
    "algorithms/maesn": ["algorithms/test_maesn.py"],
    "algorithms/_structured_noise": ["algorithms/test_maesn.py"],
    "algorithms/_latent_learning": ["algorithms/test_maesn.py"],
    "algorithms/_joined": ["algorithms/test_joined.py"],
    "algorithms/lpg": ["algorithms/test_learned_credit.py", "estimators/test_rules.py"],
    "algorithms": ["algorithms/test_self_tuning.py", "algorithms/test_learned_credit.py", "estimators/test_rules.py"],
    "curricula": ["curricula"],
    "rules": ["rules", "estimators/test_rules.py"],
    "planning": ["planning", "tasks/test_references.py"],
    "rollout": ["test_rollout.py"],
    "beliefs": ["test_beliefs.py"],
    "statistics": ["test_statistics.py"],
    "intervals": ["test_statistics.py", "test_adaptation.py"],
    "verdict": ["test_report.py", "test_adaptation.py"],
    "controls": ["test_adaptation.py"],
    "trials": ["test_report.py", "test_adaptation.py"],
    "evaluation": ["test_report.py", "test_believed.py", "test_adaptation.py"],
}


def tests_of(module: str) -> list[str]:
    """The fast tests of a module: its own file where there is one, and those of the table."""
    folder, _, name = module.rpartition("/")
    own = HERE.parent / folder / f"test_{name.strip('_')}.py"
    fits = max((begin for begin in TESTS if module.startswith(begin)), key=len, default=None)
    parts = [HERE.parent / "algorithms/test_parts.py"] if module.startswith(("algorithms", "rules")) else []
    files = parts + ([own] if own.exists() else []) + [HERE.parent / path for path in (TESTS[fits] if fits else [])]
    return list(dict.fromkeys(str(path) for path in files if path.exists()))


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


def tested(mutant: operators.Mutant | None, files: list[str], log: Path) -> str:
    """``killed``, ``survived`` or ``timeout``, by a process of its own that starts from what is imported here."""
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

        os._exit(int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *files])))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mutants", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--named", action="store_true")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules that begin so")
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

    out = Path(given.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    for mutant in chosen:
        if str(mutant) in results:
            continue
        files = tests_of(mutant.module)
        verdict = tested(mutant, files, out.with_suffix(".log")) if files else "no tests"
        results[str(mutant)] = {"result": verdict, "change": operators.mutated(mutant)[1]}
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{verdict:9} {mutant}  {results[str(mutant)]['change']}", flush=True)
    mine = [results[str(mutant)]["result"] for mutant in chosen]
    caught, late = mine.count("killed"), mine.count("timeout")
    print(f"{caught} of {len(mine)} killed ({caught / max(1, len(mine)):.1%}), {late} took more than {SECONDS} s")
    return 0 if caught == len(mine) else 1


if __name__ == "__main__":
    sys.exit(main())
