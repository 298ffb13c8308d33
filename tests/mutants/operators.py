"""One-line mutants: places in the package's mathematics and what is changed there.

A mutant is named by module, function, operator and the operator's number in that function, so that a line that moves
does not change it. ``places(module)`` lists what the operators find; ``mutated(module, mutant)`` is the changed source.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "metarl_jax"
FOLDERS = ("estimators", "meta_gradients", "algorithms", "wrappers", "curricula", "learned", "planning")
FILES = (
    "rollout",
    "beliefs",
    *(
        f"evaluation/{name}"
        for name in ("evaluate", "trials", "summary", "adaptation_test", "intervals", "controls", "belief_scores")
    ),
)
CHECKS = ("check", "check_all", "check_counts", "check_divides", "ConfigError", "ValueError")  # words, not mathematics


class Mutant(NamedTuple):
    """``module``: path below the package without its ending; ``function``: dotted name; ``index``: the operator's
    place in that function, from 0 in the order of the source."""

    module: str
    function: str
    operator: str
    index: int

    def __str__(self) -> str:
        return f"{self.module}:{self.function}:{self.operator}:{self.index}"


def parse(text: str) -> Mutant:
    module, function, operator, index = text.split(":")
    return Mutant(module, function, operator, int(index))


def swap(node: ast.AST, field: str, kinds: dict[type, type]) -> ast.AST | None:
    """``node`` with its operation in ``field`` replaced as ``kinds`` says; None where it is none of them."""
    operation = getattr(node, field)
    operation = operation[0] if isinstance(operation, list) else operation
    if type(operation) not in kinds:
        return None
    new, made = copy.deepcopy(node), kinds[type(operation)]()
    setattr(new, field, [made, *getattr(node, field)[1:]] if isinstance(getattr(node, field), list) else made)
    return new


def sign(node: ast.AST) -> ast.AST | None:
    """``a - b`` and ``a + b`` for each other; ``-a`` without its minus."""
    if isinstance(node, ast.BinOp):
        words = any(
            isinstance(side, ast.Constant | ast.JoinedStr) and not number(side) for side in (node.left, node.right)
        )
        return None if words else swap(node, "op", {ast.Add: ast.Sub, ast.Sub: ast.Add})
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        return node.operand
    return None


def factor(node: ast.AST) -> ast.AST | None:
    """``a * b`` as ``a / b`` and the other way round."""
    if isinstance(node, ast.BinOp) and not isinstance(node.left, ast.List | ast.Tuple):
        return swap(node, "op", {ast.Mult: ast.Div, ast.Div: ast.Mult})
    return None


def comparison(node: ast.AST) -> ast.AST | None:
    """The edge of an inequality, or an equality turned round."""
    kinds = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
    return swap(node, "ops", kinds) if isinstance(node, ast.Compare) else None


def mask(node: ast.AST) -> ast.AST | None:
    """``a | b`` and ``a & b`` for each other; ``~a`` as ``a``; the branches of ``where`` exchanged."""
    if isinstance(node, ast.BinOp):
        return swap(node, "op", {ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr})
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return node.operand
    if isinstance(node, ast.Call) and called(node) == "where" and len(node.args) == 3:
        new = copy.deepcopy(node)
        new.args[1], new.args[2] = new.args[2], new.args[1]
        return new
    return None


def axis(node: ast.AST) -> ast.AST | None:
    """``axis=0`` as ``axis=1``, every other axis as 0; a mean or deviation of everything along the first axis alone."""
    everything = isinstance(node, ast.Call) and not node.args and not node.keywords
    if everything and isinstance(node.func, ast.Attribute) and node.func.attr in ("mean", "std", "var"):
        new = copy.deepcopy(node)
        new.keywords = [ast.keyword(name, ast.Constant(value)) for name, value in (("axis", 0), ("keepdims", True))]
        return new
    if isinstance(node, ast.keyword) and node.arg in ("axis", "in_axes", "out_axes"):
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return ast.keyword(node.arg, ast.Constant(1 if value == 0 else 0))
    return None


def off_by_one(node: ast.AST) -> ast.AST | None:
    """The bounds of a slice, and whole numbers added or taken off, by one."""
    if isinstance(node, ast.Slice):
        for field in ("lower", "upper"):
            bound = getattr(node, field)
            if bound is not None and number(bound):
                new = copy.deepcopy(node)
                setattr(new, field, ast.Constant(ast.literal_eval(bound) + 1) if field == "lower" else None)
                return new
    added = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
    whole = added and isinstance(node.right, ast.Constant) and type(node.right.value) is int
    return node.left if whole else None


def choice(node: ast.AST) -> ast.AST | None:
    """The least for the most, the mean for the sum, and the other way round."""
    names = {"minimum": "maximum", "min": "max", "argmin": "argmax", "mean": "sum", "cummin": "cummax", "any": "all"}
    names |= {new: old for old, new in names.items()}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
        new = copy.deepcopy(node)
        new.func.attr = names[node.func.attr]
        return new
    return None


def stop(node: ast.AST) -> ast.AST | None:
    """``stop_gradient(x)`` as ``x``."""
    return node.args[0] if isinstance(node, ast.Call) and called(node) == "stop_gradient" else None


def reverse(node: ast.AST) -> ast.AST | None:
    """A backward scan as a forward one."""
    same = isinstance(node, ast.keyword) and node.arg == "reverse" and isinstance(node.value, ast.Constant)
    return ast.keyword("reverse", ast.Constant(not node.value.value)) if same else None


def key_reuse(node: ast.AST) -> ast.AST | None:
    """``fold_in(key, i)`` as ``key``."""
    return node.args[0] if isinstance(node, ast.Call) and called(node) == "fold_in" else None


def exchanged(node: ast.AST) -> ast.AST | None:
    """The two arguments of a divergence, the other way round."""
    if isinstance(node, ast.Call) and called(node) in ("kl", "divergence") and len(node.args) == 2:
        new = copy.deepcopy(node)
        new.args.reverse()
        return new
    return None


def carry(node: ast.AST) -> ast.AST | None:
    """What a scan's body returns as its carry, of two parts, the other way round."""
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        first = node.value.elts[0]
        if isinstance(first, ast.Tuple) and len(first.elts) == 2:
            new = copy.deepcopy(node)
            new.value.elts[0].elts.reverse()
            return new
    return None


OPERATORS: dict[str, Callable[[ast.AST], ast.AST | None]] = {
    function.__name__: function
    for function in (
        sign,
        factor,
        comparison,
        mask,
        axis,
        off_by_one,
        choice,
        stop,
        reverse,
        key_reuse,
        exchanged,
        carry,
    )
}


def number(node: ast.AST) -> bool:
    """Whether it is a number as written."""
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def modules() -> list[str]:
    """All modules that hold mathematics, by their paths below the package."""
    files = [PACKAGE / f"{name}.py" for name in FILES] + [
        f for folder in FOLDERS for f in (PACKAGE / folder).rglob("*.py")
    ]
    found = [f.relative_to(PACKAGE).with_suffix("").as_posix() for f in files if f.exists()]
    return sorted(name for name in found if not name.endswith("__init__"))


def sites(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str, ast.AST]]:
    """(function, node, operator, what takes the node's place) of every place, in the order of the source."""

    def visit(node: ast.AST, function: str) -> Iterator:
        for child in ast.iter_child_nodes(node):
            inside = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{function}.{child.name}".lstrip(".")
            if isinstance(child, ast.Call) and called(child) in CHECKS:
                continue
            if isinstance(child, ast.arg | ast.AnnAssign) or (isinstance(child, ast.FunctionDef) and not child.body):
                continue
            if function:
                for name, operator in OPERATORS.items():
                    if (new := operator(child)) is not None:
                        yield function, child, name, new
            yield from visit(child, inside)

    yield from visit(tree, "")


def places(module: str) -> list[Mutant]:
    counts: dict[tuple[str, str], int] = {}
    found = []
    for function, _, operator, _ in sites(ast.parse((PACKAGE / f"{module}.py").read_text())):
        index = counts.get((function, operator), 0)
        counts[function, operator] = index + 1
        found.append(Mutant(module, function, operator, index))
    return found


def mutated(mutant: Mutant) -> tuple[str, str]:
    """(the changed source, the change in words).

    Raises:
      LookupError: there is no such place.
    """
    tree = ast.parse((PACKAGE / f"{mutant.module}.py").read_text())
    same = [s for s in sites(tree) if (s[0], s[2]) == (mutant.function, mutant.operator)]
    if mutant.index >= len(same):
        raise LookupError(f"{mutant}: there is no such place (any more)")
    _, old, _, new = same[mutant.index]
    words = f"line {getattr(old, 'lineno', '?')}: {ast.unparse(old)} -> {ast.unparse(new)}"

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Replace().visit(tree))), words
