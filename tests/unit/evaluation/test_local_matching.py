"""Local features of two images match if each is the nearest one of the other."""

import torch

from fastreid.evaluation.local_matching import match_local_features


def list_positions(num, distance=10):
    return torch.stack((torch.arange(num) * distance, torch.zeros(num, dtype=torch.int64)), dim=1)


def test_equal_and_permuted_features_match_completely():
    features = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    positions = list_positions(20)
    for second, where in ((features, positions), (3 * features[order], positions[order])):
        for values in match_local_features(features, second, (positions, where)):
            torch.testing.assert_close(values, torch.ones(20))
    same = torch.ones(5, 4)  # all positions tie
    values, _ = match_local_features(same, same, (list_positions(5), list_positions(5)))
    torch.testing.assert_close(values, torch.ones(5))


def test_only_mutual_partners_have_a_value():
    first = torch.tensor([[1.0, 0.0], [0.9, 0.5], [-1.0, 0.0]])
    second = torch.tensor([[1.0, 0.1]])
    far = list_positions(3), list_positions(1)
    values, back = match_local_features(first, second, far)
    cosine = 1 / 1.01**0.5
    torch.testing.assert_close(values, torch.tensor([cosine, 0.0, 0.0]))  # the second one has a partner, but is not its
    torch.testing.assert_close(back, torch.tensor([cosine]))
    near = list_positions(3, distance=1), list_positions(1)
    values, _ = match_local_features(first, second, near)
    assert values[1] > 0.8  # a neighbor of the nearest one
    assert values[2] == 0  # opposite


def test_order_of_the_images_has_no_effect():
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(12, 6, generator=generator), torch.randn(9, 6, generator=generator)
    positions = list_positions(12, distance=1), list_positions(9, distance=1)
    values = match_local_features(first, second, positions)
    swapped = match_local_features(second, first, positions[::-1])
    torch.testing.assert_close(values, swapped[::-1])


def test_images_without_features():
    empty, positions = torch.empty(0, 4), list_positions(0)
    values, back = match_local_features(empty, torch.ones(3, 4), (positions, list_positions(3)))
    assert (values.tolist(), back.tolist()) == ([], [0, 0, 0])
