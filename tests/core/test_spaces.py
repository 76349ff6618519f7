"""Missed and invented spaces: by hand, and against all alignments."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.evaluation.spaces import common_spaces, space_errors

SHORT = st.text("ab ", max_size=4)


def best(truth, read):
    """Of all pairs of kept characters, in order: fewest edits, then fewest spaces in common."""
    found = []
    for count in range(min(len(truth), len(read)) + 1):
        for left in itertools.combinations(range(len(truth)), count):
            for right in itertools.combinations(range(len(read)), count):
                pairs = [(truth[i], read[j]) for i, j in zip(left, right, strict=True)]
                if any((a == " ") != (b == " ") for a, b in pairs):
                    continue
                edits = len(truth) + len(read) - 2 * count + sum(a != b for a, b in pairs)
                found.append((edits, sum(a == " " for a, _ in pairs)))
    return min(found)[1]


@given(SHORT, SHORT)
def test_the_best_of_all_alignments_counts(truth, read):
    assert common_spaces(truth, read) == best(truth, read) == common_spaces(read, truth)


@given(st.lists(st.tuples(st.text("abé ", max_size=9), st.text("abé ", max_size=9)), max_size=6))
def test_what_holds_for_all_readings(pairs):
    truth, read = [a for a, _ in pairs], [b for _, b in pairs]
    errors = space_errors(truth, read)
    assert min(errors.found, errors.missed, errors.invented) >= 0
    assert errors.found + errors.missed == sum(text.count(" ") for text in truth)
    assert errors.found + errors.invented == sum(text.count(" ") for text in read)
    assert 0 <= errors.rate.low <= errors.rate.high <= 1
    assert errors.rate.low <= errors.rate.value <= errors.rate.high or len(pairs) > 1
    back = space_errors(read, truth)
    assert (back.missed, back.invented) == (errors.invented, errors.missed)
    assert space_errors(truth, truth).rate.value == 0
    # Without its spaces every reading has missed them all.
    none = space_errors(truth, [text.replace(" ", "") for text in truth])
    assert none.found == none.invented == 0
    assert none.rate.value == (1 if none.missed else 0)


def test_by_hand():
    for truth, read, counts in (
        ("to be or not", "to beor not", (2, 1, 0)),
        ("to be", "t o be", (1, 0, 1)),
        ("to be", "tobe", (0, 1, 0)),
        ("to be", "to-be", (0, 1, 0)),  # a mark in its place
        ("42 Elm", "4 2Elm", (0, 1, 1)),  # at another place
        ("to be or", "lo do ar", (2, 0, 0)),  # other letters, the same spaces
        ("é a", "e\u0301 a", (1, 0, 0)),
    ):
        errors = space_errors([truth], [read])
        assert (errors.found, errors.missed, errors.invented) == counts, (truth, read)
    errors = space_errors(["a b c", "d e"], ["ab c", "d e f"])
    assert errors.to_dict()["space_error_rate"]["value"] == pytest.approx(2 / 4)
    assert space_errors([], []).rate.value == 0
    with pytest.raises(ValueError, match="1 true texts and 0 readings"):
        space_errors(["a"], [])
