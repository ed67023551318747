"""Random embeddings of 20 queries and 100 gallery drawings of 20 patents."""

import torch

from fastreid.structures import Embeddings


def make_embeddings(known=True):
    generator = torch.Generator().manual_seed(0)
    patents = torch.arange(20).repeat(6)
    features = torch.randn(20, 32, generator=generator)[patents] + 1.5 * torch.randn(120, 32, generator=generator)
    patent_ids = tuple(f"D{patent}" if known else "" for patent in patents.tolist())
    names = tuple(f"{row}.png" for row in range(120))
    return (
        Embeddings(features[:20], patent_ids[:20], names[:20]),
        Embeddings(features[20:], patent_ids[20:], names[20:]),
    )
