"""Pickled data in, plain data out; nothing of a pickle is ever run.

A pickle is a program, and Python's unpickler imports and calls whatever it names. Here
its instructions are followed by a machine of our own that imports nothing: a name is
only looked up in a table of functions written for it, and a name that is not in the
table ends the reading. What a file can make this machine do costs time and memory in
proportion to the file's size.
"""

import codecs
import pickletools
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deepgaze_jax.errors import WeightsError

__all__ = ["Allowed", "Global", "Node", "load", "ordered_dict", "printable"]

MAX_OPCODES = 1_000_000
MAX_KEY = 1000

#: `{"module.name": function}`: what stands for a name when a pickle calls it; None for
#: a name that may be mentioned but not called.
Allowed = Mapping[str, Callable[..., Any] | None]

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8".split()
)
_MAX_INT_KEY = 1 << 31
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Global:
    """A name that a pickle mentions, and what is called in its place."""

    name: str
    build: Callable[..., Any] | None


class Node:
    """An object whose state a pickle sets after it has made the object."""

    def set_state(self, state: Any) -> None:
        """Take the state; a ValueError says what is wrong with it."""
        raise ValueError("an object has a state that it should not have")


class _Forbidden(Exception):
    """The pickle names something that is not in the table."""


def load(
    stream: BinaryIO,
    path: str | Path,
    allowed: Allowed,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the object of one pickle, made of plain data and of what is allowed.

    Args:
        stream: at the start of the pickle, afterwards behind it. Its `read(n)` must not
            allocate more than there is, as with `io.BytesIO` and `mmap.mmap`.
        path: named in errors.
        allowed: what stands for the names in the pickle.
        persistent: makes an object from a persistent identity.

    Raises:
        WeightsError: the pickle names something else (it is then called unsafe), is cut
            off, damaged, or longer than a file of weights needs.

    Example:
        >>> import io, pickle
        >>> load(io.BytesIO(pickle.dumps({"a": [1, 2.5]})), "file", {})
        {'a': [1, 2.5]}
        >>> load(io.BytesIO(pickle.dumps(print)), "file", {})
        Traceback (most recent call last):
        deepgaze_jax.errors.WeightsError: file: is unsafe: it would use builtins.print,
        which no file of weights needs; nothing of it was run; if you trust who made
        it, load it where it came from and save the weights alone
    """
    machine = _Machine(stream, allowed, persistent)
    try:
        for _ in range(MAX_OPCODES):
            name, argument = _instruction(stream)
            if name == "STOP":
                return machine.pop()
            machine.step(name, argument)
    except _Forbidden as error:
        raise WeightsError(
            f"{path}: is unsafe: it would use {error}, which no file of weights needs; "
            "nothing of it was run; if you trust who made it, load it where it came "
            "from and save the weights alone"
        ) from None
    except (
        *(ValueError, TypeError, IndexError, KeyError, AttributeError),
        *(OverflowError, struct.error),
    ) as error:
        line = " ".join(str(error).split())[:120] or type(error).__name__
        raise WeightsError(
            f"{path}: is cut off or damaged (its pickle, near byte "
            f"{stream.tell():,}: {line}); fetch it again"
        ) from error
    raise WeightsError(
        f"{path}: its pickle has more than {MAX_OPCODES:,} instructions; no file of "
        "weights needs so many"
    )


def _instruction(stream: BinaryIO) -> tuple[str, Any]:
    code = stream.read(1)
    if not code:
        raise ValueError("the file ends early")
    opcode = pickletools.code2op.get(code.decode("latin-1"))
    if opcode is None:
        raise ValueError(f"unknown instruction {code.hex()}")
    if opcode.name == "STRING":
        # Pickletools insists on ASCII, Python 2 wrote the bytes of arrays this way.
        return "STRING", _quoted(_line(stream))
    if opcode.name in ("GLOBAL", "INST"):
        return opcode.name, tuple(_line(stream).decode() for _ in range(2))
    if opcode.name == "PERSID":
        return "PERSID", _line(stream).decode()
    return opcode.name, opcode.arg.reader(stream) if opcode.arg else None


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ValueError("the file ends within a line")
    return line[:-1]


def _quoted(line: bytes) -> str:
    text = line.strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError("a string has no quotes")
    # Those that Python 2 wrote; of others, the decoder warns.
    if any(found[1] not in b"\\'\"nrtx" for found in _ESCAPE.finditer(text)):
        raise ValueError("a string has an unknown escape sequence")
    return codecs.escape_decode(text[1:-1])[0].decode("latin-1")


class _Machine:
    """The stack, the marks in it and the memo of one pickle."""

    def __init__(
        self,
        stream: BinaryIO,
        allowed: Allowed,
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self._stream, self._allowed, self._persistent = stream, allowed, persistent
        self._n_given = 0  # How much calls were given so far.
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # What lies under each mark.
        self._memo: dict[int, Any] = {}  # A large index costs nothing.

    def pop(self) -> Any:
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        push = self._stack.append
        if name in _VALUES:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in _TUPLES:
            n = _TUPLES[name]
            if len(self._stack) < n:
                raise IndexError("the stack is too short")
            self._stack[-n:] = [tuple(self._stack[-n:])]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self._memo[argument])
        elif name not in ("PROTO", "FRAME"):
            self._step_structure(name, argument)

    def _step_structure(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self._below.append(self._stack)
                self._stack = []
            case "POP":
                self.pop() if self._stack else self._pop_mark()
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                self._stack.append(self._stack[-1])
            case "LIST" | "TUPLE":
                items = self._pop_mark()
                self._stack.append(items if name == "LIST" else tuple(items))
            case "DICT":
                items = self._pop_mark()
                self._stack.append({})
                self._set_items(items)
            case "APPEND":
                self._append([self.pop()])
            case "APPENDS":
                self._append(self._pop_mark())
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._pop_mark())
            case _:
                self._step_object(name, argument)

    def _step_object(self, name: str, argument: Any) -> None:
        match name:
            case "GLOBAL":
                self._stack.append(self._find(*argument))
            case "STACK_GLOBAL":
                attribute, module = self.pop(), self.pop()
                self._stack.append(self._find(module, attribute))
            case "INST":
                raise _Forbidden(printable(".".join(argument)))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.pop(), self.pop()
                if not isinstance(arguments, tuple):
                    raise ValueError("a call has no arguments")
                if not isinstance(function, Global):
                    raise ValueError("what it calls is no function")
                if function.build is None:
                    raise _Forbidden(f"a call of {function.name}")
                self._count(arguments)
                self._stack.append(function.build(*arguments))
            case "BUILD":
                state, target = self.pop(), self._stack[-1]
                if isinstance(target, Node):
                    target.set_state(state)
                elif not isinstance(target, dict):
                    raise ValueError("the state of an object that has none")
                # What hangs on a dictionary beside its items is left out.
            case "PERSID" | "BINPERSID" if self._persistent:
                identity = argument if name == "PERSID" else self.pop()
                self._stack.append(self._persistent(identity))
            case _:
                raise _Forbidden(f"the pickle instruction {name}")

    def _find(self, module: Any, attribute: Any) -> Global:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("a name is no text")
        name = f"{module}.{attribute}"
        if name not in self._allowed:
            raise _Forbidden(printable(name))
        return Global(name, self._allowed[name])

    def _count(self, arguments: tuple[Any, ...]) -> None:
        """Refuse a pickle that has its own data copied over and over."""
        sized = str | bytes | bytearray | list | tuple | dict
        self._n_given += sum(len(item) for item in arguments if isinstance(item, sized))
        if self._n_given > 2 * self._stream.tell() + MAX_OPCODES:
            raise ValueError("it uses the same data over and over")

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("items for what is no list")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("items for what is no dictionary")
        _fill(target, zip(items[::2], items[1::2], strict=True))


def _fill(target: dict, items: Iterable[tuple[Any, Any]]) -> None:
    for key, value in items:
        # Tuples could be built so that hashing them takes for ever.
        small = isinstance(key, int) and abs(key) < _MAX_INT_KEY
        if not small and not isinstance(key, str | bytes):
            raise ValueError("a key is neither text nor a small integer")
        # A long key would be repeated in the name of everything below it.
        if not small and len(key) > MAX_KEY:
            raise ValueError(f"a key is longer than {MAX_KEY} characters")
        target[key] = value


def printable(name: str) -> str:
    """Return a name from a file so that it can stand in one line of an error."""
    return ascii(name[:100])[1:-1]


def ordered_dict(items: Any = ()) -> dict:
    """Return the dictionary that stands for `collections.OrderedDict(items)`.

    Example:
        >>> ordered_dict([["a", 1]])
        {'a': 1}
    """
    result: dict = {}
    if not isinstance(items, list | tuple) or any(
        not isinstance(item, list | tuple) or len(item) != 2 for item in items
    ):
        raise ValueError("an ordered dictionary is not made of pairs")
    _fill(result, items)
    return result
