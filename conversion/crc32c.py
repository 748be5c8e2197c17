"""The CRC-32C of byte strings, fast enough for whole checkpoints.

Advancing a CRC over zero bytes is linear over the bits of its state, and the CRC of
two halves is that of the first, advanced over the length of the second, combined with
that of the second by exclusive or. So a string of 2n words is folded to n words at a
time, all of them at once, instead of byte after byte.
"""

from functools import cache

import numpy as np

__all__ = ["crc32c", "masked_crc32c"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli, least significant bit first.
_START = 0xFFFFFFFF
# 4 MB at a time: the words of a block and its folded half stay small.
_BLOCK_WORDS = 1 << 20


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the CRC-32C of some bytes.

    Args:
        data: any contiguous buffer.

    Reference:
        RFC 3720, appendix B.4.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    data = np.frombuffer(data, np.uint8)
    state = _START
    for at in range(0, len(data), 4 * _BLOCK_WORDS):
        block = data[at : at + 4 * _BLOCK_WORDS]
        # What zeros before the first byte leave of an empty state is nothing.
        words = np.zeros(1 << max(0, (len(block) + 3) // 4 - 1).bit_length(), "<u4")
        words.view(np.uint8)[4 * len(words) - len(block) :] = block
        state = _advance(state, len(block)) ^ _fold(words)
    return state ^ _START


def masked_crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the CRC-32C in the form in which checkpoints and tables store it.

    Example:
        >>> hex(masked_crc32c(b"123456789"))
        '0xc78ab0e5'
    """
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(words: np.ndarray) -> int:
    """Return the state after 2^k words, from an empty state."""
    while len(words) > 1:
        half = len(words) // 2
        first, words = words[:half], words[half:]
        words = words ^ _apply(_tables(half.bit_length() + 1), first)
    return int(_apply(_tables(2), words)[0])


def _advance(state: int, n_bytes: int) -> int:
    """Return the state after so many zero bytes."""
    power = 0
    while n_bytes >> power:
        if n_bytes >> power & 1:
            state = int(_apply(_tables(power), np.array([state], "<u4"))[0])
        power += 1
    return state


def _apply(tables: np.ndarray, states: np.ndarray) -> np.ndarray:
    parts = np.ascontiguousarray(states).view(np.uint8).reshape(-1, 4)
    result = tables[0].take(parts[:, 0])
    for table, part in zip(tables[1:], parts.T[1:], strict=True):
        result ^= table.take(part)
    return result


@cache
def _tables(power: int) -> np.ndarray:
    """Return [4, 256]: what each byte of a state becomes after 2^power zero bytes."""
    if power:
        half = _tables(power - 1)
        return _apply(half, half.reshape(-1)).reshape(4, 256)
    states = np.arange(256, dtype="<u4")
    for _ in range(8):
        states = np.where(states & 1, states >> 1 ^ _POLYNOMIAL, states >> 1)
    # The upper three bytes only move down.
    moved = [np.arange(256, dtype="<u4") << 8 * k for k in range(3)]
    return np.stack([states.astype("<u4"), *moved])
