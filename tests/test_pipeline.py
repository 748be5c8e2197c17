import collections
import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax.datasets.pipeline import Order, Position, Source, batches, read_ahead
from deepgaze_jax.errors import ConfigError, DataError, InputError

SIZES = ((6, 8), (8, 6), (5, 5))
sizes_of_items = st.lists(st.sampled_from(SIZES), max_size=12)
few = settings(max_examples=40)


def source(sizes, load=lambda index: index * index):
    return Source([f"{i}.png" for i in range(len(sizes))], sizes, load)


def listed(stream):
    """What a stream yields, as plain values."""
    return [
        (batch.size, [(i.index, i.name, i.value) for i in batch.items], batch.after)
        for batch in stream
    ]


def expected_steps(sizes, together):
    return sum(-(-n // together) for n in collections.Counter(sizes).values())


@st.composite
def orders(draw):
    return Order(draw(st.integers(1, 4)), draw(st.none() | st.integers(0, 99)))


@few
@given(sizes_of_items, orders(), st.integers(1, 3))
def test_every_item_once_in_each_epoch(sizes, order, epochs):
    found = listed(batches(source(sizes), order, epochs=epochs))
    n_steps = expected_steps(sizes, order.batch_size)
    assert len(found) == epochs * n_steps
    for epoch in range(epochs):
        own = found[epoch * n_steps : (epoch + 1) * n_steps]
        items = [item for _, items, _ in own for item in items]
        assert sorted(items) == [(i, f"{i}.png", i * i) for i in range(len(sizes))]
        for size, items, _ in own:
            assert 1 <= len(items) <= order.batch_size
            assert {sizes[index] for index, _, _ in items} == {size}


@few
@given(sizes_of_items, orders(), st.integers(1, 4))
def test_shards_are_disjoint_complete_and_in_step(sizes, order, count):
    shards = [
        listed(
            batches(
                source(sizes),
                dataclasses.replace(order, process_index=k, process_count=count),
                epochs=2,
            )
        )
        for k in range(count)
    ]
    # Together they are what one process would do with batches of that many items.
    whole = dataclasses.replace(order, batch_size=order.batch_size * count)
    alone = listed(batches(source(sizes), whole, epochs=2))
    assert {len(shard) for shard in shards} == {len(alone)}
    for step, (size, items, after) in enumerate(alone):
        parts = [shard[step] for shard in shards]
        assert all((part[0], part[2]) == (size, after) for part in parts)
        assert sorted(itertools.chain(*(part[1] for part in parts))) == sorted(items)
        assert all(len(part[1]) <= order.batch_size for part in parts)


def test_sizes_that_occur_once_go_to_all_processes():
    sizes = [(1, i) for i in range(12)]
    loads = [
        sum(len(b.items) for b in batches(source(sizes), Order(2, None, k, 3)))
        for k in range(3)
    ]
    assert loads == [4, 4, 4]


@few
@given(sizes_of_items, orders(), st.integers(1, 3), st.integers(0, 5))
def test_threads_and_queue_change_nothing(sizes, order, threads, ahead):
    plain = listed(batches(source(sizes), order, epochs=2, threads=1, ahead=0))
    stream = batches(source(sizes), order, epochs=2, threads=threads, ahead=ahead)
    assert listed(stream) == plain


@few
@given(sizes_of_items, orders(), st.data())
def test_goes_on_from_any_position(sizes, order, data):
    whole = listed(batches(source(sizes), order, epochs=3))
    done = data.draw(st.integers(0, len(whole)))
    place = whole[done - 1][2] if done else Position()
    stored = json.loads(json.dumps(dataclasses.asdict(place)))
    rest = batches(source(sizes), order, Position(**stored), epochs=3)
    assert listed(rest) == whole[done:]


def test_the_end_of_an_epoch_is_the_start_of_the_next():
    sizes, order = [SIZES[0]] * 5, Order(2, 7)
    whole = listed(batches(source(sizes), order, epochs=2))
    rest = batches(source(sizes), order, Position(0, 3), epochs=2)
    assert listed(rest) == whole[3:]
    with pytest.raises(ConfigError, match=r"step 4 of epoch 0: an epoch has 3"):
        next(batches(source(sizes), order, Position(0, 4)))


def test_order_depends_on_seed_and_epoch():
    sizes = [SIZES[0]] * 12 + [SIZES[1]] * 12

    def order(seed, epoch):
        stream = batches(source(sizes), Order(3, seed), Position(epoch), epochs=2)
        return [item.index for batch in stream for item in batch.items][:24]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1)}) == 4
    # Sizes are mixed, not one after the other.
    assert {index < 12 for index in order(1, 0)[:12]} == {True, False}
    assert order(None, 0) == order(None, 1) == list(range(24))


@pytest.mark.parametrize("wrong", [(0,), (1, 0, 2, 2), (1, 0, -1, 2), (1, 0, 0, 0)])
def test_senseless_orders_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected at least 1"):
        Order(*wrong)


def test_endless_streams_of_few_items_and_of_none():
    stream = batches(source([SIZES[0]]), Order(), epochs=None)
    assert [batch.after.epoch for batch in itertools.islice(stream, 5)] == [
        *range(1, 6)
    ]
    stream.close()
    assert listed(batches(source([]), Order(), epochs=None)) == []


class Load:
    """Counts what is loaded; items wait until they may go on."""

    def __init__(self, free=True):
        self.begun, self.lock, self.gate = [], threading.Lock(), threading.Event()
        if free:
            self.gate.set()

    def __call__(self, index):
        with self.lock:
            self.begun.append(index)
        assert self.gate.wait(60)
        return index


def own_threads(before):
    return [t for t in threading.enumerate() if t not in before]


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 3), (3, 4)])
def test_the_queue_is_bounded(threads, ahead):
    load = Load()
    stream = batches(
        source([SIZES[0]] * 40, load), Order(4), threads=threads, ahead=ahead
    )
    for taken in range(1, 6):
        next(stream)
        assert len(load.begun) <= 4 * taken + ahead
    stream.close()
    assert len(load.begun) <= 20 + ahead


def test_items_are_read_while_the_consumer_works():
    load = Load()
    stream = read_ahead(load, range(10), 2, 3)
    assert next(stream) == 0
    deadline = threading.Event()
    for _ in range(1000):
        if len(load.begun) == 4:
            break
        deadline.wait(0.01)
    assert sorted(load.begun) == [0, 1, 2, 3]
    stream.close()


def test_threads_end_when_the_stream_is_closed_or_dropped():
    before = threading.enumerate()
    stream = batches(source([SIZES[0]] * 40), Order(), threads=3)
    next(stream)
    assert own_threads(before)
    stream.close()
    assert not own_threads(before)
    for _ in batches(source([SIZES[0]] * 40), Order(), threads=3):
        break
    assert not own_threads(before)
    with pytest.raises(KeyboardInterrupt):
        for _ in batches(source([SIZES[0]] * 40), Order(), threads=3):
            raise KeyboardInterrupt
    assert not own_threads(before)


INTERRUPTED = """
import os, signal, sys, threading, time
from deepgaze_jax.datasets.pipeline import Order, Source, batches
def load(index):
    if index == 5:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05 if index < 5 else 0.5)
    return index
source = Source([str(i) for i in range(1000)], [0] * 1000, load)
try:
    for batch in batches(source, Order(2), threads=3, ahead=6):
        pass
except KeyboardInterrupt:
    print(threading.active_count())
"""


def test_an_interrupted_process_ends():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def broken(index):
    if index == 3:
        raise InputError("is not a picture")
    return index


def test_a_bad_item_stops_the_stream_with_its_name():
    before, seen = threading.enumerate(), []
    with pytest.raises(InputError, match=r"^3\.png: is not a picture$"):
        for batch in batches(source([SIZES[0]] * 9, broken), Order(2), ahead=6):
            seen += [item.index for item in batch.items]
    # What came before it has been delivered.
    assert seen == [0, 1]
    assert not own_threads(before)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("images/3.png: is 3 x 4 pixels"), "images/3.png: is 3 x 4 pixels"),
        (ZeroDivisionError("by zero"), "by zero"),
    ],
)
def test_other_errors_keep_what_they_say(error, text):
    def load(index):
        if index == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        list(batches(source([SIZES[0]] * 4, load), Order()))
    assert caught.value is error and str(error) == text
    named = "3.png" in text or error.__notes__ == ["while reading 3.png"]
    assert named


@few
@given(sizes_of_items, orders(), st.sets(st.integers(0, 11)))
def test_errors_can_be_kept_beside_what_is_good(sizes, order, bad):
    def load(index):
        if index in bad:
            raise InputError("bad")
        return index

    found = [
        item
        for batch in batches(source(sizes, load), order, keep_errors=True)
        for item in batch.items
    ]
    assert sorted(item.index for item in found) == list(range(len(sizes)))
    for item in found:
        if item.index in bad:
            assert item.value is None and str(item.error) == "bad"
        else:
            assert item.value == item.index and item.error is None
