"""Everything that a developer types, with nothing but Python 3.11 and pip:

    python3 dev.py demo  [...]    train the default job and show its report (arguments go to `metarl demo`)
    python3 dev.py test  [...]    the tests (arguments go to pytest; -m slow runs the long ones)
    python3 dev.py lint           ruff check, ruff format --check, pyright
    python3 dev.py check          lint, then test
    python3 dev.py setup [extra]  only make .venv; extras as in pyproject.toml (dev by default; cuda12, cuda13, tpu)

Each makes `.venv` first, or brings it up to date when pyproject.toml or constraints.txt changed.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "metarl-stamp.json"


def main(arguments):
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Python must be told so)
        return fail("Python 3.11 or newer is needed, this is {}.{}".format(*sys.version_info))
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    os.chdir(ROOT)
    if command == "setup":
        return setup(rest or ["dev"])
    if command == "demo":
        return setup([]) or replace_by([str(BIN / "metarl"), "demo", *rest])
    if command == "test":
        return setup(["test"]) or replace_by([str(PYTHON), "-m", "pytest", *rest])
    if command == "lint":
        return setup(["dev"]) or lint()
    if command == "check":
        return setup(["dev"]) or lint() or replace_by([str(PYTHON), "-m", "pytest", *rest])
    print(__doc__)
    return 0 if command in ("help", "-h", "--help") else fail(f"unknown command {command!r}")


def setup(extras):
    """Makes or updates .venv so that it has ``extras``; returns an exit code. Quick when nothing changed."""
    sources = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    digest = hashlib.sha256(sources).hexdigest()
    home = f"{ROOT} {sys.version}"  # a .venv that was moved, or made by another Python, is made again
    stamp = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    have = set(stamp.get("extras", []))
    if "dev" in have:
        have.add("test")
    if stamp.get("home") == home and stamp["digest"] == digest and have >= set(extras):
        return 0
    say("setting up .venv (once; a minute or so)")
    if stamp.get("home") != home:
        code = make_environment()
        if code:
            return code
        have = set()
    wanted = sorted(have | set(extras))
    STAMP.unlink(missing_ok=True)  # interrupted from here on, the next call starts afresh
    target = "." + (f"[{','.join(wanted)}]" if wanted else "")
    code = run([*pip(), "install", "--quiet", "-c", "constraints.txt", "-e", target])
    if code:
        return fail("pip could not install metarl_jax; its message is above", code)
    STAMP.write_text(json.dumps({"digest": digest, "extras": wanted, "home": home}))
    return 0


def make_environment():
    """A fresh .venv, with pip inside where this Python can do that (Debian splits ensurepip off)."""
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if made.returncode == 0:
        return 0
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        print(made.stdout, made.stderr, file=sys.stderr)
        return fail("neither venv nor pip works with this Python; on Debian: apt install python3-venv")
    say("this Python has no ensurepip: using its own pip from outside")
    return run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)])


def pip():
    """The command that runs pip on .venv."""
    inside = subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode == 0
    return [str(PYTHON), "-m", "pip"] if inside else [sys.executable, "-m", "pip", "--python", str(PYTHON)]


def lint():
    """All of the linters, even when one fails; returns the first failure."""
    commands = (
        [str(BIN / "ruff"), "check", "."],
        [str(BIN / "ruff"), "format", "--check", "."],
        [str(BIN / "pyright"), "--pythonpath", str(PYTHON)],
    )
    codes = [run(command) for command in commands]
    return next((code for code in codes if code), 0)


def run(command):
    say(" ".join(Path(word).name if Path(word).is_absolute() else word for word in command))
    return subprocess.call(command)


def replace_by(command):
    """Becomes ``command``, so that Ctrl-C and SIGTERM reach it and its exit code is ours."""
    say(" ".join(Path(word).name if Path(word).is_absolute() else word for word in command))
    if os.name == "nt":
        return subprocess.call(command)
    os.execv(command[0], command)


def say(text):
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def fail(text, code=2):
    say(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
