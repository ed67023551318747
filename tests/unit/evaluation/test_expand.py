from dataclasses import asdict

import torch

from fastreid.evaluation import ExpansionSettings, expand
from fastreid.evaluation.postprocess.query_expansion import iter_expansions


def features(*, num_queries=30, num_gallery=300, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_queries, width, generator=generator), torch.randn(num_gallery, width, generator=generator)


def expand_row_by_row(queries, gallery, *, k, alpha):
    """Return the expanded features, computed one drawing at a time."""
    rows = torch.cat([queries, gallery]).double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    expanded = []
    for row in unit:
        cosines = (unit @ row).clamp(min=0)
        chosen = cosines.sort(descending=True, stable=True).indices[:k]
        expanded.append((cosines[chosen, None] ** alpha * rows[chosen]).sum(0) / k)
    return torch.stack(expanded).float().split([len(queries), len(gallery)])


def test_expansion_equals_row_by_row_computation():
    expanded, expected = expand(*features(), k=6, alpha=2.5), expand_row_by_row(*features(), k=6, alpha=2.5)
    for side, other in zip(expanded, expected):
        torch.testing.assert_close(side, other, rtol=0, atol=1e-5)


def test_expansion_does_not_depend_on_memory_budget():
    small, large = (expand(*features(num_gallery=900), k=5, alpha=3, times=2, memory_mb=mb) for mb in (1, 1024))
    for side, other in zip(small, large):
        assert torch.equal(side, other)


def test_one_side_uses_neighbors_from_both_sides():
    queries, gallery = features()
    both = expand(queries, gallery, k=5, alpha=2)
    only_queries = expand(queries, gallery, k=5, alpha=2, gallery_too=False)
    only_gallery = expand(queries, gallery, k=5, alpha=2, queries_too=False)
    assert torch.equal(only_queries[0], both[0])
    assert torch.equal(only_queries[1], gallery)
    assert torch.equal(only_gallery[0], queries)
    assert torch.equal(only_gallery[1], both[1])


def test_expansions_that_share_a_search_equal_single_ones():
    settings = [ExpansionSettings(k, alpha=2.0, queries_too=k != 3, times=2) for k in (2, 5, 3)]
    for choice, sides in zip(settings, iter_expansions(*features(), settings)):
        for side, expected in zip(sides, expand(*features(), **asdict(choice))):
            assert torch.equal(side, expected)


def test_repeated_expansion_continues_from_the_previous_one():
    twice = expand(*features(), k=4, alpha=2, times=2)
    again = expand(*expand(*features(), k=4, alpha=2), k=4, alpha=2)
    assert torch.equal(twice[0], again[0])
    assert torch.equal(twice[1], again[1])


def test_negative_cosine_has_weight_0_for_fractional_alpha():
    queries, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.1], [0.0, 1.0]])
    expanded = expand(queries, gallery, k=3, alpha=2.5)[0]
    torch.testing.assert_close(expanded, torch.tensor([[1 / 3, 0.0]]))


def test_k_above_the_number_of_drawings_averages_all():
    queries, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(expand(queries, gallery, k=9, alpha=0)[0], torch.tensor([[0.5, 0.5]]))


def test_expansion_does_not_modify_its_input():
    queries, gallery = features()
    expand(queries, gallery, k=5, alpha=2, times=2)
    assert torch.equal(queries, features()[0])
    assert torch.equal(gallery, features()[1])
