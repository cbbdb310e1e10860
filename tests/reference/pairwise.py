"""Covering arrays: few rows that together contain every pair of values of any two axes, without forbidden combinations."""

import itertools
from collections.abc import Collection, Mapping, Sequence

Row = dict[str, str]
Combination = frozenset[tuple[str, str]]
"""Some (axis, value) together."""


def pairs_of(row: Mapping[str, str]) -> set[Combination]:
    """Return the pairs that a row contains."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def every_pair(axes: Mapping[str, Sequence[str]]) -> set[Combination]:
    """Return all pairs of values of two axes."""
    return {frozenset([(a, x), (b, y)]) for a, b in itertools.combinations(axes, 2) for x, y in itertools.product(axes[a], axes[b])}


def next_row(axes: Mapping[str, Sequence[str]], missing: Collection[Combination], forbidden: Collection[Combination]) -> Row:
    """Return a row with one missing pair and, greedily, many others, that contains no forbidden combination."""
    row: Row = dict(min(missing, key=sorted))
    for axis in sorted(axes, key=lambda name: len(axes[name])):
        if axis not in row:
            allowed = [value for value in axes[axis] if not any(bad <= {*row.items(), (axis, value)} for bad in forbidden)]
            gained = {value: sum(frozenset([(axis, value), other]) in missing for other in row.items()) for value in allowed}
            # a pair that no allowed row holds gets a row all the same, which is refused
            row[axis] = max(allowed, key=gained.__getitem__) if allowed else axes[axis][0]
    return row
