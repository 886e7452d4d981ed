"""Whose habits a code follows: evidence for another product that gathers over its scans."""

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@compiled()
def gathered(
    ratios: Floats,
    own: Ints,
    believed: Bools,
    starts: Ints,
    suspicion: float,
    ship: Ints,
    of_ship: Floats,
    first: Ints,
    last: Ints,
) -> tuple[Floats, Ints]:  # pragma: no cover
    """Return what each scan adds to the evidence that its code follows another product's habits.

    Before its first scan a code follows its own product with 1 − suspicion, and each other one in
    equal parts. The evidence is the log of the sum over all products, weighed by what the scans
    before said; so a scan that is as likely under the own product adds nothing, and one that is
    not adds the more, the more the past spoke for the other. What a shipment of several codes did
    counts once, for every code of its lot.

    Parameters
    ----------
    ratios
        (n, products) log likelihood ratio of each scan under each product, to the own.
    own
        (n,) the own product, −1 for none.
    believed
        (n,) whether later scans have it for a past.
    starts
        (n,) first step of what each scan may look back on.
    suspicion
        How probable it is before anything is seen.
    ship
        (n,) each scan's shipment, −1 for a scan of few codes.
    of_ship
        (shipments, products) ratios of shipments, by lot and end.
    first, last
        (n,) which shipments of its lot each scan looks back on; of a scan of its code in any other
        one it looks back on that scan alone.

    Returns
    -------
    tuple of arrays
        (n,) evidence in nats; (n,) the product that speaks most for itself.
    """
    n, products = ratios.shape
    added, likest = np.zeros(n), np.full(n, -1, dtype=np.int64)
    past = np.zeros(products)
    for i in range(n):
        if own[i] < 0 or products < 2:
            continue
        past[:] = np.log(suspicion / (products - 1))
        past[own[i]] = np.log(1.0 - suspicion)
        # The oldest scan that may be looked back on has no past there, and says nothing.
        for j in range(starts[i] + 1, i):
            if believed[j] and not first[i] <= ship[j] < last[i]:
                past += ratios[j]
        for k in range(first[i], last[i]):
            past += of_ship[k]
        most, before, after = -np.inf, 0.0, 0.0
        top = max(past.max(), (past + ratios[i]).max())
        for q in range(products):
            before += np.exp(past[q] - top)
            after += np.exp(past[q] + ratios[i, q] - top)
            if q != own[i] and past[q] + ratios[i, q] > most:
                most, likest[i] = past[q] + ratios[i, q], q
        added[i] = np.log(max(after, 1e-300)) - np.log(max(before, 1e-300))
    return added, likest
