"""Signatures as command lines: the keyword options of a function become a frozen dataclass, which tyro reads."""

import dataclasses
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from metarl_jax.config import ConfigError, coerce, options_of

Parameters = Mapping[str, inspect.Parameter]
REQUIRED = inspect.Parameter.empty


def with_defaults(parameters: Parameters, values: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Parameters with other defaults, such as the options that a run was made with.

    Args:
      parameters: by name.
      values: new defaults by name, as JSON holds them (tuples may be lists); other names are ignored.

    Returns:
      Parameters by name.

    Raises:
      ConfigError: a value is not of its parameter's type.
    """
    changed = {name: coerce(values[name], p.annotation, name) for name, p in parameters.items() if name in values}
    return {name: p.replace(default=changed.get(name, p.default)) for name, p in parameters.items()}


def from_json(option: str, text: str, example: str) -> Any:
    """Decodes an option that is given in JSON.

    Args:
      option: its name, for messages.
      text: its value.
      example: of a right value, for messages.

    Returns:
      What the text stands for.

    Raises:
      ConfigError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--{option} {text}: is not JSON ({error}), such as '{example}'") from None


def parse(
    prog: str, about: str, own: type, groups: Mapping[str, type], words: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Reads ``--name`` for the fields of ``own`` and ``--group.name`` for those of each group.

    ``--help`` prints all of them and exits with 0, a word that does not fit is explained and exits with 2.

    Args:
      prog: usage of the command, for messages.
      about: what it does, for its help.
      own: dataclass of the command's own options.
      groups: dataclasses of grouped options by the group's name.
      words: to be read.

    Returns:
      The values of ``own`` by name, and those of each group.
    """
    import tyro

    fields: list[Any] = []
    full = {name: group for name, group in groups.items() if dataclasses.fields(group)}
    for name, group in full.items():
        fields.append((f"{name}_group", Annotated[group, tyro.conf.arg(name=name)], _field_of(group)))
    command = dataclasses.make_dataclass("command", fields, bases=(own,), frozen=True, kw_only=True)
    found = vars(tyro.cli(command, prog=prog, description=about, args=list(words)))
    values = {field.name: found[field.name] for field in dataclasses.fields(own)}
    return values, {name: vars(found[f"{name}_group"]) if name in full else {} for name in groups}


def _field_of(record: type) -> Any:
    """A field that holds ``record`` with its defaults, or must be given where one of them is missing."""
    needed = [f for f in dataclasses.fields(record) if f.default is dataclasses.MISSING]
    return dataclasses.field() if needed else dataclasses.field(default=record())


def record(name: str, parameters: Parameters, texts: Mapping[str, str], about: str = "") -> type:
    """The frozen dataclass of a function's parameters, each with a help text, which tyro reads.

    Args:
      name: of the dataclass.
      parameters: by name; one without a default must be given on the command line.
      texts: help by name.
      about: its docstring.

    Returns:
      The dataclass.
    """
    import tyro

    fields: list[Any] = []
    for option, parameter in parameters.items():
        text, hint = texts.get(option, "").rstrip("."), None  # tyro prints the default after the help
        if "\\n" in repr(parameter.default):
            hint = "(default: built in)"  # a maze in letters would fill the screen
        elif parameter.default is None and "default" in text:
            hint = ""
        argument = tyro.conf.arg(help=text, help_behavior_hint=hint)
        default = dataclasses.field() if parameter.default is REQUIRED else parameter.default
        fields.append((option, Annotated[parameter.annotation, argument], default))
    made = dataclasses.make_dataclass(name, fields, frozen=True, kw_only=True)
    made.__doc__ = about
    return made


def group(function: Callable, values: Mapping[str, Any] | None = None) -> type:
    """The options of a registry's function as a dataclass, see ``record``.

    Args:
      function: an entry of a registry.
      values: defaults that replace the function's own.

    Returns:
      The dataclass.

    Raises:
      ConfigError: a value is not of its parameter's type.
    """
    parameters = with_defaults(options_of(function), values or {})
    return record(str(getattr(function, "__name__", "options")), parameters, help_texts(function), summary(function))


def help_texts(function: Callable) -> dict[str, str]:
    """What the Args part of a docstring says of each parameter.

    It reads ``name: text.`` and ``name, name: text.``, also several on a line.

    Args:
      function: with a docstring.

    Returns:
      Texts by name, each on one line; empty where there is no such part.
    """
    names = {*options_of(function), *inspect.signature(function).parameters}
    part = re.search(r"^Args:\n((?:  .*\n?|\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
    if part is None:
        return {}
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?=  \S)", part[1].rstrip()):
        words = " ".join(entry.split()).replace("``", "")
        marks = [m for m in re.finditer(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ", words) if names >= set(m[1].split(", "))]
        ends = [m.start() for m in marks[1:]] + [len(words)]
        for mark, end in zip(marks, ends, strict=False):  # an entry may be of what is no option
            texts |= dict.fromkeys(mark[1].split(", "), words[mark.end() : end].strip())
    return texts


def summary(function: Callable, width: int = 100) -> str:
    """The first sentence of a docstring, on one line.

    Args:
      function: with a docstring.
      width: characters at most; what is cut is replaced by dots.

    Returns:
      The sentence, without its full stop.
    """
    paragraph = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).replace("``", "")
    return textwrap.shorten(re.split(r"(?<=[\w)\]])\. (?=[A-Z])", paragraph)[0].rstrip("."), width, placeholder=" ...")


def leading(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits words at the first option.

    Args:
      words: after the command.

    Returns:
      The words before the first option, and the rest.
    """
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return list(words[:first]), list(words[first:])


def last_value(words: Sequence[str], option: str) -> str | None:
    """The last value of an option, given as ``option VALUE`` or ``option=VALUE``.

    Args:
      words: after the command.
      option: with its dashes.

    Returns:
      The value; None where the option is not given.

    Raises:
      ConfigError: the option is the last word, without a value.
    """
    values = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    for here, following in itertools.pairwise([*words, None]):
        if here == option:
            if following is None:
                raise ConfigError(f"{option}: a value is missing")
            values.append(following)
    return values[-1] if values else None
