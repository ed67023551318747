"""The order of the best results of a search."""

import torch

from fastreid.index.refinement import Refinement, refine


def test_refinement_ignores_norms():
    generator = torch.Generator().manual_seed(0)
    query, rows = torch.randn(32, generator=generator), torch.randn(40, 32, generator=generator)
    rows = rows[torch.nn.functional.cosine_similarity(query[None], rows).argsort(descending=True)]
    scales = 10.0 ** (torch.arange(40) % 5 - 2)[:, None]
    for options in ({"expand": True}, {"rerank": "k-reciprocal"}, {"expand": True, "rerank": "superglobal"}):
        order = refine(query, rows, Refinement(**options))
        assert refine(0.01 * query, scales * rows, Refinement(**options)) == order
        assert order != sorted(order)
