"""Fixations out of raw gaze, sample by sample, in plain loops."""

import math


def detect_fixations(xs, ys, rate=240.0, threshold=6.0 * 34.0, window=4):
    """A list of (x, y, first sample from 0, number of samples)."""
    n = len(xs)
    steps = [0.0]
    for i in range(1, n):
        steps.append(math.dist((xs[i], ys[i]), (xs[i - 1], ys[i - 1])))
    smooth = []
    for i in range(n):
        smooth.append(sum(steps[max(0, i - window + 1) : i + 1]) / window)
    seconds = window / rate
    rise = [0.0] * n
    for i in range(1, n - window - 1):
        this = sum(smooth[i : i + window + 1]) / seconds
        following = sum(smooth[i + 1 : i + window + 2]) / seconds
        rise[i] = following - this

    # Rises: three samples or more, one after the other.
    rises, current = [], []
    for i in range(n + 1):
        if i < n and rise[i] > threshold:
            current.append(i)
        else:
            if len(current) >= 3:
                rises.append((current[0], current[-1]))
            current = []

    # Each is followed by a fall, or is no saccade.
    saccades = []
    for first, last in rises:
        end = None
        for tries in range(25):
            i = last + 1 + tries
            if tries and i + 1 >= n - 1:
                break
            if rise[i] < -threshold and not rise[i + 1] < -threshold:
                end = i
                break
        if end is None and len(rises) == 1:
            after = [i for i in range(n) if rise[i] != 0]
            if after[-1] == last:
                end = n - 1
        if end is not None:
            saccades.append([first, end])

    # Whatever is too short between two saccades belongs to them.
    joined = []
    previous_end = None
    for first, end in saccades:
        if previous_end is not None and first - previous_end <= 12:
            joined[-1][1] = end
        else:
            joined.append([first, end])
        previous_end = end
    if joined and n - 1 - joined[-1][1] <= 12:
        joined[-1][1] = n - 1

    in_saccade = [False] * n
    for first, end in joined:
        for i in range(first, end + 1):
            in_saccade[i] = True
    fixations, members = [], []
    for i in range(n + 1):
        if i < n and not in_saccade[i]:
            members.append(i)
        elif members:
            fixations.append(
                (
                    _median([xs[j] for j in members]),
                    _median([ys[j] for j in members]),
                    members[0],
                    len(members),
                )
            )
            members = []
    return fixations


def _median(values):
    values = sorted(v for v in values if not math.isnan(v))
    if not values:
        return math.nan
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) / 2
