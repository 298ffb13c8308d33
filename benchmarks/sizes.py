"""How large a benchmark is: as it is recorded, or (``--smoke``) just so large that every line of it runs.

Every constant that says how long something takes is ``size(full, smoke)``, so that both stand side by side and no
function knows of the difference. With ``--smoke`` nothing in the repository is written: see ``record.written_to``.
"""

import argparse
import os
import sys
from typing import TypeVar

T = TypeVar("T")
SMOKE = "--smoke" in sys.argv or os.environ.get("METARL_JAX_BENCHMARKS") == "smoke"
if SMOKE:
    os.environ["METARL_JAX_BENCHMARKS"] = "smoke"  # also for the processes that benchmarks start


def smoke_option(parser: argparse.ArgumentParser) -> None:
    """Every command has it; it was read above, when the sizes were set."""
    parser.add_argument("--smoke", action="store_true", help="every line of it at no size; nothing is written")


def size(full: T, smoke: T) -> T:
    """``smoke`` where the command was given ``--smoke``."""
    return smoke if SMOKE else full
