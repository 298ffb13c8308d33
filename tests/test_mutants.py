"""The committed lists of mutants: each still names a place, and changes it to something that can be read."""

import ast
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "mutants"


def test_every_listed_mutant_is_a_place_in_the_source(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import operators

    listed = json.loads((FOLDER / "mutants.json").read_text())
    assert len(set(listed)) == len(listed) >= 20
    survivors = json.loads((FOLDER / "survivors.json").read_text())
    assert not set(survivors) & set(listed) and all(len(reason) > 20 for reason in survivors.values())
    for text in (*listed, *survivors):
        mutant = operators.parse(text)
        source, words = operators.mutated(mutant)
        original = (operators.PACKAGE / f"{mutant.module}.py").read_text()
        assert str(mutant) == text and " -> " in words
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(original))
    assert len(operators.modules()) > 60
    sys.modules.pop("operators")
