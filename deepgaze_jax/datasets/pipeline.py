"""The one place where items are read ahead and grouped by size.

Any random-access source becomes a stream of batches of one size each. Which items are
in which batch follows from the seed, the epoch and the processes alone, never from
threads or time, so a stream that goes on from a position yields exactly what it would
have yielded. Threads read a bounded number of items ahead and end with the stream.
"""

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from deepgaze_jax.errors import ConfigError, DeepGazeError

__all__ = [
    "DECODERS",
    "Batch",
    "Item",
    "Order",
    "Position",
    "Source",
    "batches",
    "behind",
    "read_ahead",
]

#: Threads that decode pictures, where one is slower than what is done with them; about
#: so many pictures are in memory then.
DECODERS = 4

T = TypeVar("T")
Task = TypeVar("Task")


@dataclasses.dataclass(frozen=True)
class Source(Generic[T]):
    """Items that can be read in any order, from several threads at once.

    Attributes:
        names: of the items, for messages.
        sizes: of the items; only items of equal sizes share a batch.
        load: reads the item with an index: a picture, say, or a picture with counts.
    """

    names: Sequence[str]
    sizes: Sequence[Hashable]
    load: Callable[[int], T]


@dataclasses.dataclass(frozen=True)
class Order:
    """Which items are in which batch of which process.

    Attributes:
        batch_size: items of a batch in one process. What is left over of a size makes
            a smaller batch.
        seed: of the order, which is another in every epoch. None: batches in the
            order of their first items, each with the next items of its size.
        process_index: number of this process.
        process_count: how many take part. All take equally many steps, and in a step
            all have the same size; where items run out, some have none.
    """

    batch_size: int = 1
    seed: int | None = None
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.process_index < self.process_count:
            raise ConfigError(
                f"batch size {self.batch_size}, process {self.process_index} of "
                f"{self.process_count}; expected at least 1, and a process from 0 on"
            )


@dataclasses.dataclass(frozen=True)
class Position:
    """A place between two batches; `dataclasses.asdict` makes it JSON.

    It holds for a source and an order, which whoever stores it must keep.

    Attributes:
        epoch: number of the epoch.
        step: batches of this epoch that lie before.
    """

    epoch: int = 0
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Item(Generic[T]):
    """An item, or why it could not be read.

    Attributes:
        index: in the source.
        name: in the source.
        value: what was read; None where there is an error.
        error: why not.
    """

    index: int
    name: str
    value: T | None
    error: Exception | None = None


@dataclasses.dataclass(frozen=True)
class Batch(Generic[T]):
    """Items of one size.

    Attributes:
        size: of all of them.
        items: at most `Order.batch_size`; none where other processes have the rest.
        after: where to go on when this batch is done.
    """

    size: Hashable
    items: tuple[Item[T], ...]
    after: Position


def batches(
    source: Source[T],
    order: Order,
    start: Position | None = None,
    *,
    epochs: int | None = 1,
    threads: int = 2,
    ahead: int = 4,
    keep_errors: bool = False,
) -> Iterator[Batch[T]]:
    """Yield the batches of this process; its threads end when it ends or is closed.

    Args:
        source: what to read.
        order: in which order.
        start: where to go on; by default at the beginning.
        epochs: number of the epoch to end before; None never ends.
        threads: that read. What is yielded does not depend on them.
        ahead: items that are read or ready beyond the batch that is taken; with it,
            they are all that is ever in memory.
        keep_errors: yield an item that cannot be read with its error and go on.

    Raises:
        ConfigError: the start lies behind the last batch of its epoch.
        Exception: what `load` raised, with the name of the item, unless `keep_errors`.

    Example:
        >>> source = Source("abc", [(6, 8), (9, 4), (6, 8)], str)
        >>> for batch in batches(source, Order(batch_size=2)):
        ...     print(batch.size, [item.name for item in batch.items], batch.after)
        (6, 8) ['a', 'c'] Position(epoch=0, step=1)
        (9, 4) ['b'] Position(epoch=1, step=0)
    """

    def load(index: int) -> Item[T]:
        name = source.names[index]
        try:
            return Item(index, name, source.load(index))
        except Exception as error:
            return Item(index, name, None, error)

    steps = _steps(source.sizes, order, start or Position(), epochs)
    coming, due = itertools.tee(steps)
    tasks = (index for indices, _ in coming for index in indices.tolist())
    with contextlib.closing(read_ahead(load, tasks, threads, ahead)) as read:
        for indices, (size, after) in due:
            items = tuple(itertools.islice(read, len(indices)))
            for item in items:
                if item.error is not None and not keep_errors:
                    raise _named(item.error, item.name)
            yield Batch(size, items, after)


def read_ahead(
    load: Callable[[Task], T], tasks: Iterable[Task], threads: int, ahead: int
) -> Iterator[T]:
    """Yield what `load` returns for each task, in order, read ahead by threads.

    Args:
        load: called in the threads.
        tasks: taken as they are needed; may be endless.
        threads: how many.
        ahead: tasks that are under way or ready while the consumer works.

    Raises:
        Exception: what `load` raised, in the place of its result.

    Example:
        >>> list(read_ahead(abs, [-1, 2, -3], threads=2, ahead=2))
        [1, 2, 3]
    """
    waiting: collections.deque[Future[T]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for task in tasks:
            waiting.append(pool.submit(load, task))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also when the consumer stops early, or the user does: what is not yet begun
        # is dropped, what is under way is waited for.
        pool.shutdown(cancel_futures=True)


def behind(values: Iterable[T]) -> Iterator[T]:
    """Yield values, the next of which is always under way.

    What is computed on a device is computed while the host looks at the one before.

    Example:
        >>> def made():
        ...     for value in "ab":
        ...         print("made", value)
        ...         yield value
        >>> for value in behind(made()):
        ...     print("read", value)
        made a
        made b
        read a
        read b
    """
    waiting: collections.deque[T] = collections.deque()
    for value in values:
        waiting.append(value)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def _steps(
    sizes: Sequence[Hashable], order: Order, start: Position, epochs: int | None
) -> Iterator[tuple[np.ndarray, tuple[Hashable, Position]]]:
    """Yield the indices of each batch of a process, its size and what follows it."""
    groups: dict[Hashable, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    n, count = order.batch_size, order.process_count
    together = n * count
    n_steps = sum(-(-len(group) // together) for group in groups.values())
    if start.step > n_steps:
        raise ConfigError(
            f"step {start.step} of epoch {start.epoch}: an epoch has {n_steps}; the "
            "position belongs to other data or to another batch size"
        )
    if not n_steps:
        return
    for epoch in itertools.count(start.epoch):
        if epochs is not None and epoch >= epochs:
            return
        pieces = _pieces(groups, together, order.seed, epoch)
        first = start.step if epoch == start.epoch else 0
        for step, (size, piece) in enumerate(pieces[first:], start=first):
            # In turn, so that a size of which there are few does not always fall to
            # the first process.
            part = (order.process_index + step) % count
            last = step + 1 == n_steps
            after = Position(epoch + 1) if last else Position(epoch, step + 1)
            yield piece[part * n : (part + 1) * n], (size, after)


def _pieces(
    groups: dict[Hashable, list[int]], together: int, seed: int | None, epoch: int
) -> list[tuple[Hashable, np.ndarray]]:
    """Return the batches of an epoch, of all processes together, each with its size."""
    rng = None if seed is None else np.random.default_rng([seed, epoch])
    pieces = []
    for size, group in groups.items():
        indices = np.array(group) if rng is None else rng.permutation(group)
        cuts = range(0, len(indices), together)
        pieces += [(size, indices[cut : cut + together]) for cut in cuts]
    if rng is None:
        return sorted(pieces, key=lambda piece: piece[1][0])
    return [pieces[i] for i in rng.permutation(len(pieces))]


def _named(error: Exception, name: str) -> Exception:
    """Return an exception that says which item it is about."""
    if name in str(error):
        return error
    if isinstance(error, DeepGazeError):
        named = type(error)(f"{name}: {error}")
        named.__cause__ = error
        return named
    error.add_note(f"while reading {name}")
    return error
