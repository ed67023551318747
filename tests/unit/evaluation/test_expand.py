import torch

from fastreid.evaluation import expand


def features(*, num_queries=30, num_gallery=300, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_queries, width, generator=generator), torch.randn(num_gallery, width, generator=generator)


def row_by_row(queries, gallery, *, k, alpha):
    """The formula, one drawing at a time."""
    rows = torch.cat([queries, gallery]).double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    expanded = []
    for row in unit:
        cosines = (unit @ row).clamp(min=0)
        chosen = cosines.sort(descending=True, stable=True).indices[:k]
        expanded.append((cosines[chosen, None] ** alpha * rows[chosen]).sum(0) / k)
    return torch.stack(expanded).float().split([len(queries), len(gallery)])


def test_expansion_is_the_formula_row_by_row():
    found, wanted = expand(*features(), k=6, alpha=2.5), row_by_row(*features(), k=6, alpha=2.5)
    for side, other in zip(found, wanted):
        torch.testing.assert_close(side, other, rtol=0, atol=1e-5)


def test_the_memory_budget_changes_no_bit():
    small, large = (expand(*features(num_gallery=900), k=5, alpha=3, times=2, memory_mb=mb) for mb in (1, 1024))
    for side, other in zip(small, large):
        assert torch.equal(side, other)


def test_one_side_alone_takes_its_neighbours_from_all_drawings():
    queries, gallery = features()
    both = expand(queries, gallery, k=5, alpha=2)
    only_queries = expand(queries, gallery, k=5, alpha=2, gallery_too=False)
    only_gallery = expand(queries, gallery, k=5, alpha=2, queries_too=False)
    assert torch.equal(only_queries[0], both[0])
    assert torch.equal(only_queries[1], gallery)
    assert torch.equal(only_gallery[0], queries)
    assert torch.equal(only_gallery[1], both[1])


def test_the_second_time_starts_from_the_first():
    twice = expand(*features(), k=4, alpha=2, times=2)
    again = expand(*expand(*features(), k=4, alpha=2), k=4, alpha=2)
    assert torch.equal(twice[0], again[0])
    assert torch.equal(twice[1], again[1])


def test_a_negative_cosine_counts_as_none_even_with_a_broken_power():
    queries, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.1], [0.0, 1.0]])
    found = expand(queries, gallery, k=3, alpha=2.5)[0]
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 0.0]]))


def test_k_beyond_all_drawings_averages_all_drawings():
    queries, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(expand(queries, gallery, k=9, alpha=0)[0], torch.tensor([[0.5, 0.5]]))


def test_features_that_are_expanded_are_left_as_they_were():
    queries, gallery = features()
    expand(queries, gallery, k=5, alpha=2, times=2)
    assert torch.equal(queries, features()[0])
    assert torch.equal(gallery, features()[1])
