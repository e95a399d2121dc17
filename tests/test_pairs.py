"""A subset is again a `Pairs`, with its captions and ground truth in step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rsnb.errors import DataError
from rsnb.pairs import join
from toy import squares


def test_subset_keeps_captions_with_their_images():
    pairs = squares(9)
    part = pairs.subset([5, 2])
    assert part.ids == (pairs.ids[5], pairs.ids[2])
    assert part.captions_of(0) == pairs.captions_of(5)
    assert part.captions_of(1) == pairs.captions_of(2)
    np.testing.assert_array_equal(np.asarray(part.image(0)), np.asarray(pairs.image(5)))
    again = part.subset(np.array([False, True]))
    assert again.ids == (pairs.ids[2],)
    assert again.captions == tuple(pairs.captions_of(2))


def test_captions_are_added_by_id():
    pairs = squares(4)
    more = pairs.adding({pairs.ids[2]: ["new words"], "elsewhere": ["not ours"]})
    assert more.captions_of(2) == [*pairs.captions_of(2), "new words"]
    assert more.captions_of(1) == pairs.captions_of(1)
    assert len(more.captions) == len(pairs.captions) + 1
    assert more.source["added"] == 1
    assert pairs.adding({"elsewhere": ["not ours"]}) is pairs


def test_repeated_rows_are_refused():
    with pytest.raises(DataError, match="once"):
        squares(4).subset([1, 1])


def test_where_names_the_splits_it_has():
    with pytest.raises(DataError, match="it has: train"):
        squares(4).where("test")
    assert len(squares(4).where("train")) == 4


def test_a_tenth_of_train_stands_in_for_a_missing_val():
    known = squares(20)
    pairs = replace(known, split=("train",) * 17 + ("test",) * 3)
    with_val = pairs.with_val()
    assert with_val.split.count("val") == 2 and with_val.split[17:] == ("test",) * 3
    assert with_val.split == pairs.with_val().split
    assert with_val.source["sha256"] != pairs.source.get("sha256")
    assert with_val.with_val() is with_val
    alone = known.subset(range(3))
    assert replace(alone, split=("test",) * 3).with_val().split == ("test",) * 3


def test_missing_pixels_are_named_and_filtered():
    pairs = replace(squares(4), has_pixels=np.array([True, False, True, True]))
    with pytest.raises(DataError, match="without pixels"):
        pairs.image(1)
    part = pairs.with_pixels()
    assert len(part) == 3
    assert pairs.ids[1] not in part.ids
    assert "3 pixels" in repr(pairs)


def test_join_keeps_captions_with_their_images():
    a, b = squares(5), replace(squares(4), name="other")
    both = join([a, b])
    assert len(both) == 9
    assert both.ids[6] == f"1:other:{b.ids[1]}"
    assert both.captions_of(6) == b.captions_of(1)
    np.testing.assert_array_equal(np.asarray(both.image(6)), np.asarray(b.image(1)))
    part = both.subset([8, 0])
    np.testing.assert_array_equal(np.asarray(part.image(0)), np.asarray(b.image(3)))
