"""An independent writer of TensorFlow checkpoints, byte by byte from the format."""

import struct

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19, "bool": 10}


def crc32c(data):
    """Bit by bit, as the standard defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    rotated = (crc >> 15) | (crc << 17 & 0xFFFFFFFF)
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


def number(field, n):
    return varint(field << 3) + varint(n) if n else b""


def block_of_bytes(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def table_block(entries, interval):
    """The block of a sorted table: keys with shared prefixes, then the restarts."""
    out, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(entries, per_block=5, interval=3, kind=0):
    """A sorted table file; `kind` is the type byte of its data blocks."""
    out, handles = bytearray(), []

    def add(content, kind=0):
        handle = varint(len(out)) + varint(len(content))
        typed = content + bytes([kind])
        out.extend(typed + masked(typed))
        return handle

    entries = sorted(entries)
    for at in range(0, len(entries), per_block):
        part = entries[at : at + per_block]
        handles.append((part[-1][0], add(table_block(part, interval), kind)))
    footer = add(table_block([], 1)) + add(table_block(handles, 1))
    return bytes(out) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def header(n_shards=1, big_endian=False):
    version = block_of_bytes(3, number(1, 1))
    return number(1, n_shards) + number(2, int(big_endian)) + version


def entry(dtype, shape, shard, offset, data, extra=b""):
    dims = b"".join(block_of_bytes(2, number(1, n)) for n in shape)
    return (
        number(1, dtype)
        + block_of_bytes(2, dims)
        + number(3, shard)
        + number(4, offset)
        + number(5, len(data))
        + varint(6 << 3 | 5)
        + masked(data)
        + extra
    )


def write_bundle(prefix, arrays, n_shards=1, big_endian=False, extra=(), **options):
    """Write `prefix`.index and its shards; arrays go to the shards in turn.

    A value may be (type number, shape, bytes) in place of an array.
    """
    shards = [bytearray() for _ in range(n_shards)]
    entries = [(b"", header(n_shards, big_endian)), *extra]
    for i, (name, value) in enumerate(arrays.items()):
        if isinstance(value, tuple):
            dtype, shape, data = value
        else:
            value = np.asarray(value)
            dtype, shape = DTYPES[value.dtype.name], value.shape
            order = ">" if big_endian else "<"
            data = value.astype(value.dtype.newbyteorder(order)).tobytes()
        shard = i % n_shards
        offset = len(shards[shard])
        entries.append((name.encode(), entry(dtype, shape, shard, offset, data)))
        shards[shard] += data
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries, **options))
    for i, data in enumerate(shards):
        name = f"{prefix.name}.data-{i:05}-of-{n_shards:05}"
        prefix.with_name(name).write_bytes(data)
    return prefix
