"""The command line `deepgaze`: verbs, errors and exit codes.

Each verb is a function whose signature `parsing` turns into options. Its module is
imported when the verb is used, so that none pays for the libraries of the others.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import deepgaze_jax
from deepgaze_jax.cli.messages import UsageError, complain
from deepgaze_jax.cli.parsing import parse
from deepgaze_jax.errors import ConfigError, DeepGazeError

__all__ = ["main"]


@dataclass(frozen=True)
class _Verb:
    """What can be done.

    Attributes:
        module: below this package.
        function: does it, and returns the exit code.
        summary: one line for the list of verbs.
    """

    module: str
    function: str
    summary: str


_VERBS = {
    "predict": _Verb("predict", "predict", "where people look in pictures"),
    "demo": _Verb("predict", "demo", "predict on a sample photograph"),
    "evaluate": _Verb("evaluate", "evaluate", "score models on fixations"),
    "benchmark-file": _Verb(
        "benchmark_file", "benchmark_file", "the file that saliency benchmarks take"
    ),
    "figures": _Verb("figures", "figures", "figures of a paper from tables of scores"),
    "train": _Verb("train", "train", "train the readouts of all folds"),
    "export": _Verb("train", "export", "write the model of a training run"),
    "serve": _Verb("serve", "serve", "predictions over HTTP, and a page"),
    "weights fetch": _Verb("weights", "fetch", "get the weights of a feature network"),
    "weights list": _Verb("weights", "list_weights", "feature weights and their state"),
    "weights convert": _Verb("weights", "convert", "weights of any format to ours"),
    "weights inspect": _Verb("weights", "inspect", "what a weight file is"),
    "weights verify": _Verb("weights", "verify", "compare two weight files"),
    "weights normalise": _Verb("weights", "normalise", "unit mean activations"),
    "data import": _Verb("data", "import_dataset", "eye-tracking files to a data set"),
    "data build": _Verb("data_build", "build", "a TFDS data set (array_record)"),
    "data export": _Verb(
        "data_export", "export_dataset", "a data set in the files of other software"
    ),
    "data info": _Verb("data_info", "info", "what a data set holds"),
    "data validate": _Verb("data", "validate", "check a data set"),
    "data cache ls": _Verb("data_cache", "list_caches", "feature caches on the disk"),
    "data cache rm": _Verb("data_cache", "remove_caches", "delete feature caches"),
    "doctor": _Verb("doctor", "doctor", "versions, devices, caches, what is there"),
}

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code of a command: 0 all good, 1 something failed, 2 usage.

    Args:
        argv: what follows `deepgaze`; by default that of the process.

    Example:
        >>> main(["--version"])
        deepgaze-jax 0.1.0
        0
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except (UsageError, ConfigError) as error:
        complain(error)
        return _USAGE
    except BrokenPipeError:
        # Whoever read the output has gone; Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (DeepGazeError, OSError) as error:
        complain(error)
        return _FAILED
    except KeyboardInterrupt as interrupt:
        complain("; ".join(("interrupted", *map(str, interrupt.args))))
        return _INTERRUPTED
    except SystemExit as leaving:  # tyro, after --help or a wrong option
        return leaving.code if isinstance(leaving.code, int) else 0


def _run(argv: list[str]) -> int:
    if argv[:1] == ["--version"]:
        print(f"deepgaze-jax {deepgaze_jax.__version__}")
        return 0
    name = next((n for n in _VERBS if argv[: len(n.split())] == n.split()), None)
    if name is None:
        return _help(argv)
    if "" in argv:
        raise UsageError("an argument is empty; is there a variable without a value?")
    verb = _VERBS[name]
    module = importlib.import_module(f"deepgaze_jax.cli.{verb.module}")
    function = getattr(module, verb.function)
    return parse(function, name, argv[len(name.split()) :])()


def _help(argv: list[str]) -> int:
    """List the verbs; an error unless that was asked for."""
    words = [word for word in argv if word not in ("-h", "--help")]
    group = [name for name in _VERBS if words and name.split()[: len(words)] == words]
    if words and not group:
        verbs = [name.split() for name in _VERBS]
        known = max(
            n for n in range(len(words)) if any(v[:n] == words[:n] for v in verbs)
        )
        name = " ".join(words[: known + 1])
        close = difflib.get_close_matches(name, _VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else "see deepgaze --help"
        raise UsageError(f"there is no verb {name!r}; {hint}")
    listed = {name: _VERBS[name] for name in group or _VERBS}
    width = max(map(len, listed))
    lines = ["usage: deepgaze VERB [OPTIONS]      deepgaze VERB --help", ""]
    lines += [f"  {name:{width}}  {verb.summary}" for name, verb in listed.items()]
    asked = len(words) < len(argv)
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else _USAGE
