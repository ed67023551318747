"""Cached results: those that were used last, up to a number of bytes."""

from fastreid.service.cache import BoundedCache


def test_values_that_were_not_used_for_longest_are_removed():
    cache = BoundedCache(10)
    for key in ("a", "b"):
        cache.put(key, key.upper(), num_bytes=4)
    assert cache.get("a") == "A"
    cache.put("c", "C", num_bytes=4)
    assert [cache.get(key) for key in ("a", "b", "c")] == ["A", None, "C"]
    cache.put("a", "new", num_bytes=6)  # replaces its value
    assert [cache.get(key) for key in ("a", "c")] == ["new", "C"]


def test_value_above_the_limit_is_not_kept():
    cache = BoundedCache(10)
    cache.put("a", "A", num_bytes=4)
    cache.put("large", "L", num_bytes=11)
    assert (cache.get("large"), cache.get("a")) == (None, "A")
    cache.put("b", "B", num_bytes=10)
    assert cache.get("b") == "B"
