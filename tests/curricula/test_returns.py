"""Returns that are held for a curriculum: as shares of their range, whatever their unit."""

import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.curricula.return_history import share_of_range


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e6])
def test_shares_of_a_range_have_no_unit(unit):
    returns = unit * jnp.array([1.0, 2.0, 5.0])
    np.testing.assert_allclose(share_of_range(returns, returns[0], returns[2]), [0.0, 0.25, 1.0], atol=1e-6)
    equal = returns[1] * jnp.array([1.0, 1.0 + 2e-7])  # but for the last bit
    np.testing.assert_array_equal(share_of_range(equal, equal[0], equal[1]), 1.0)
