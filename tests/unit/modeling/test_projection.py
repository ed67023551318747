import pytest
import torch
from torch import nn

from fastreid.modeling.projection import fit_pca_whitening, fit_within_class_whitening, set_projection
from fastreid.utils.errors import InputError, NumericalError


def make_features(num_classes=30, per_class=6, dim=5, seed=0):
    """Return features whose classes differ in the last dimension and whose views differ in the first."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    features = 0.1 * torch.randn(len(labels), dim, generator=generator) + 3
    features[:, 0] += 5 * torch.randn(len(labels), generator=generator)
    features[:, -1] += torch.randn(num_classes, generator=generator)[labels]
    return features, labels


def test_pca_whitening_gives_uncorrelated_features_of_unit_variance():
    features, labels = make_features()
    projected = fit_pca_whitening(features, labels, 5)(features).double()
    torch.testing.assert_close(projected.mean(0), torch.zeros(5).double(), rtol=0, atol=1e-4)
    covariance = projected.T @ projected / len(projected)
    torch.testing.assert_close(covariance, torch.eye(5).double(), rtol=0, atol=1e-3)


def test_within_class_whitening_gives_views_unit_variance_and_finds_what_separates_patents():
    features, labels = make_features()
    projection = fit_within_class_whitening(features, labels, 5, shrinkage=0)
    projected = projection(features).double()
    residuals = torch.cat([projected[labels == label] - projected[labels == label].mean(0) for label in range(30)])
    torch.testing.assert_close(residuals.T @ residuals / len(residuals), torch.eye(5).double(), rtol=0, atol=1e-3)
    totals = projected.var(0)
    assert (totals[:-1] >= totals[1:] - 1e-6).all()  # components in order
    assert int(projection.matrix[:, 0].abs().argmax()) == 4  # the first one is the direction of the patents


def test_within_class_whitening_equals_plain_loops():
    features, labels = make_features(num_classes=8, per_class=3)
    rows = features.double() - features.double().mean(0)
    within = torch.zeros(5, 5).double()
    for label in range(8):
        group = rows[labels == label]
        for row in group - group.mean(0):
            within += torch.outer(row, row) / len(rows)
    shrunk = 0.7 * within + 0.3 * within.trace() / 5 * torch.eye(5).double()
    projected = fit_within_class_whitening(features, labels, 5, shrinkage=0.3)(features).double()
    # All dimensions are kept, so distances are those of Mahalanobis with the shrunk covariance.
    expected = torch.stack([(rows - row) @ torch.linalg.inv(shrunk) @ (rows - row).T for row in rows])
    distances = torch.cdist(projected, projected).square()
    torch.testing.assert_close(distances, torch.diagonal(expected, dim1=1, dim2=2), rtol=1e-3, atol=1e-3)


def test_projection_does_not_depend_on_the_order_of_the_features():
    features, labels = make_features()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    for fit in (fit_pca_whitening, fit_within_class_whitening):
        first, second = fit(features, labels, 3), fit(features[order], labels[order], 3)
        torch.testing.assert_close(first.matrix, second.matrix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fit", "num", "dim", "error", "message"),
    [
        (fit_pca_whitening, 4, 5, InputError, "EMBEDDING_DIM is 5, but 4 features have only 3 components"),
        (fit_within_class_whitening, 30, 6, InputError, "180 features of 5 floats do not determine 6 components"),
        (fit_pca_whitening, 1, 1, InputError, "at least 2 features, not 1"),
    ],
)
def test_impossible_projections_raise(fit, num, dim, error, message):
    features, labels = make_features()
    features, labels = (features[:num], labels[:num]) if num < 30 else (features, labels)
    with pytest.raises(error, match=message):
        fit(features, labels, dim)


def test_features_without_pairs_or_with_nan_raise():
    features, _ = make_features()
    with pytest.raises(InputError, match="within_class needs a patent with two drawings"):
        fit_within_class_whitening(features, torch.arange(len(features)), 2)
    features[3, 1] = torch.nan
    with pytest.raises(NumericalError, match="NaN or Inf"):
        fit_pca_whitening(features, torch.zeros(len(features)), 2)


def test_reduction_layer_computes_the_projection():
    features, labels = make_features()
    projection = fit_within_class_whitening(features, labels, 4)
    layer = nn.Conv2d(5, 4, 1)
    set_projection(layer, projection)
    with torch.no_grad():
        outputs = layer(features[:, :, None, None]).flatten(1)
    torch.testing.assert_close(outputs, projection(features), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"set MODEL\.HEADS\.EMBEDDING_BIAS"):
        set_projection(nn.Conv2d(5, 4, 1, bias=False), projection)
