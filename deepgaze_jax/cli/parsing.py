"""From the words of a command to a call: help in prose, errors in one line."""

import contextlib
import dataclasses
import functools
import inspect
import io
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from deepgaze_jax.cli.messages import UsageError

__all__ = ["parse"]

# What tyro says, and what a person would.
_SAYINGS = (
    (
        r"Error parsing (\S+): no type matching (.+) could be instantiated from "
        r"\[(.*)\]\.",
        r"\1 is \3; expected \2",
    ),
    (
        r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.+)",
        r"\1 is \2; expected a whole number",
    ),
    (
        r"Error parsing (\S+): could not convert string to float: (.+)",
        r"\1 is \2; expected a number",
    ),
    (
        r"invalid choice (.+) for argument '(.+)'\. Expected one of \((.+)\)\.",
        r"\2 is \1; expected one of \3",
    ),
    (r"Unrecognized options: (.+)", r"there is no option \1"),
    (
        r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*)\]",
        r"\1 cannot be \2",
    ),
    (r"Missing value for argument '(.+)'\. .*", r"\1 needs a value"),
)


def parse(
    function: Callable[..., int], name: str, argv: Sequence[str]
) -> Callable[[], int]:
    """Return the call that a command means.

    Args:
        function: does what the verb says; its signature makes the options.
        name: the verb.
        argv: what follows it.

    Raises:
        UsageError: they do not fit.
        SystemExit: after help was asked for and shown.
    """
    unset_flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]

    @functools.wraps(function)
    def later(*args: Any, **options: Any) -> Callable[[], int]:
        return functools.partial(function, *args, **options)

    # tyro would keep the ends of lines, which are those of the source.
    later.__doc__ = re.sub(r"\n {8,}", " ", inspect.cleandoc(function.__doc__ or ""))
    later.__annotations__ = {
        option: unset_flag if kind is bool else kind
        for option, kind in function.__annotations__.items()
    }
    later.__signature__ = inspect.signature(function)
    del later.__wrapped__
    said, asked = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(asked):
            return tyro.cli(
                later,
                prog=f"deepgaze {name}",
                args=argv,
                config=(tyro.conf.FlagCreatePairsOff,),
                registry=_registry(),
            )
    except SystemExit as leaving:
        if leaving.code:
            words = _in_words(said.getvalue())
            raise UsageError(f"{words}; see deepgaze {name} --help") from None
        # All but the description has the width of the terminal.
        width = shutil.get_terminal_size().columns
        # A switch is off unless it is given: not worth a word.
        shown = re.sub(r"\s+\(default: False\)", "", asked.getvalue())
        for line in map(str.rstrip, shown.splitlines()):
            print(textwrap.fill(line, width) if len(line) > width else line)
        raise


def _registry() -> ConstructorRegistry:
    """Return tyro's rules, without Python's way to say that there is no value."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type is not float:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="NUMBER",
            instance_from_str=lambda words: float(words[0]),
            is_instance=lambda value: isinstance(value, float),
            str_from_instance=lambda value: [f"{value:.6g}"],
        )

    @registry.primitive_rule
    def perhaps(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        kinds = [kind for kind in get_args(info.type) if kind is not types.NoneType]
        if types.NoneType not in get_args(info.type):
            return None
        inner = ConstructorRegistry.get_primitive_spec(
            PrimitiveTypeInfo.make(Union[tuple(kinds)], info.markers)  # noqa: UP007
        )
        if not isinstance(inner, PrimitiveConstructorSpec):
            return None
        return dataclasses.replace(
            inner,
            is_instance=lambda value: value is None or inner.is_instance(value),
            str_from_instance=lambda value: (
                ["unset"] if value is None else inner.str_from_instance(value)
            ),
        )

    return registry


def _in_words(box: str) -> str:
    """Return what tyro says in a box with a title, as one line."""
    lines = [line.removeprefix("  ").rstrip() for line in box.splitlines()[2:]]
    # Below come causes and help, each after a rule or an empty line.
    end = next((n for n, line in enumerate(lines) if not line.strip(" -")), len(lines))
    text = " ".join(line.strip() for line in lines[:end])
    if text.startswith("Missing from"):
        return f"missing: {'; '.join(_options(lines[:end]))}"
    for said, meant in _SAYINGS:
        if re.fullmatch(said, text):
            text = re.sub(said, meant, text)
            break
    if text.startswith("there is no option") and _options(lines[end:]):
        text += f"; did you mean {_options(lines[end:])[0]}?"
    return text


def _options(lines: list[str]) -> list[str]:
    """Return the options among the lines of a box, which stand above their help."""
    return [line.strip() for line in lines if re.match(r" {4}\S", line)]
