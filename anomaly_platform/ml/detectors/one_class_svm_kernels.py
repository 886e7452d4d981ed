"""Compiled decision function of a one-class SVM: a weighted sum of kernels to stored vectors.

One kernel serves a batch and a single row, in the same order of additions, so that both agree to
the bit. Imports numba: import this module where it is used.
"""

import math

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled

RBF, POLY = 0, 1


@compiled()
def decision(X: Floats, vectors: Floats, weights: Floats, parameters: Floats, out: Floats) -> None:
    """Write sum of weights · k(x, vector) − offset into ``out`` for every row of ``X``.

    X (n, d), vectors (m, d), weights (m,), out (n,); parameters are (ν, γ, kernel, offset). The
    kernels are scikit-learn's, of degree 3 and with coef0 = 0.
    """
    gamma, kernel, offset = parameters[1], int(parameters[2]), parameters[3]
    for row in range(X.shape[0]):
        total = 0.0
        for j in range(vectors.shape[0]):
            product = 0.0
            if kernel == RBF:
                for column in range(X.shape[1]):
                    difference = X[row, column] - vectors[j, column]
                    product += difference * difference
                value = math.exp(-gamma * product)
            else:
                for column in range(X.shape[1]):
                    product += X[row, column] * vectors[j, column]
                product *= gamma
                value = product * product * product if kernel == POLY else math.tanh(product)
            total += weights[j] * value
        out[row] = total - offset
