"""The Frechet distance between two sets of features, each summarised by a Gaussian.

d^2 = |mean_a - mean_b|^2 + trace(A + B - 2 (A^1/2 B A^1/2)^1/2)   (Dowson and Landau 1982; Heusel et al.
2017, eq. 6)

The distance of finite samples is biased upwards, more so the fewer there are: compare only distances of sets
of equal size, and beside them the distance between two disjoint sets of real pictures.
"""

import numpy as np
import torch


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Frechet distance between feature sets [N, D] and [M, D], N and M at least 2, in squared feature units."""
    return gaussian_distance(*feature_statistics(first), *feature_statistics(second))


def feature_statistics(features: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [D] and unbiased covariance [D, D] of features [N, D], in float64."""
    values = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    return values.mean(dim=0), torch.cov(values.T)


def gaussian_distance(
    mean_a: torch.Tensor, covariance_a: torch.Tensor, mean_b: torch.Tensor, covariance_b: torch.Tensor
) -> float:
    """Squared Frechet distance of two Gaussians: means [D] and symmetric covariances [D, D], float64."""
    # Covariances are positive semi-definite: eigenvalues below 0 are rounding and count 0.
    eigenvalues, vectors = torch.linalg.eigh((covariance_a + covariance_a.T) / 2)
    root_a = (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T
    product = root_a @ covariance_b @ root_a
    # The product is symmetric only up to rounding, and eigh reads one triangle alone.
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)
    overlap = eigenvalues.clamp(min=0).sqrt().sum()
    shift = (mean_a - mean_b).square().sum()
    distance = shift + covariance_a.trace() + covariance_b.trace() - 2 * overlap
    return max(float(distance), 0.0)
