"""The hop algebra's promises: it inverts, it stays in [0, 1], and its corner cases are 0 and not a division by zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robo_reward.progress.hop import apply_hop, hop_from_potentials

potentials = st.floats(0.0, 1.0)
hops = st.floats(-1.0, 1.0)


@settings(deadline=None)
@given(potentials, potentials)
def test_applying_the_hop_between_two_states_reaches_the_second(p, q):
    hop = hop_from_potentials(p, q)
    assert -1.0 <= hop <= 1.0
    assert np.sign(hop) == np.sign(q - p)
    assert apply_hop(p, hop) == pytest.approx(q, abs=1e-12)


@settings(deadline=None)
@given(st.floats(1e-3, 1.0 - 1e-3), hops)
def test_the_hop_between_a_state_and_its_successor_is_the_one_applied(phi, hop):
    assert hop_from_potentials(phi, apply_hop(phi, hop)) == pytest.approx(hop, abs=1e-9)


@settings(deadline=None)
@given(potentials, st.lists(hops, max_size=200))
def test_no_sequence_of_hops_leaves_the_unit_interval(phi, sequence):
    for hop in sequence:
        phi = apply_hop(phi, hop)
        assert 0.0 <= phi <= 1.0


@settings(deadline=None)
@given(potentials)
def test_equal_states_hop_zero_and_a_zero_hop_changes_nothing(phi):
    assert hop_from_potentials(phi, phi) == 0.0
    assert apply_hop(phi, 0.0) == phi


@pytest.mark.parametrize("phi", [0.0, 1.0])
def test_zero_denominators_give_zero_without_a_warning(phi):
    with np.errstate(all="raise"):
        assert hop_from_potentials(phi, phi) == 0.0


@settings(deadline=None)
@given(potentials)
def test_a_full_hop_reaches_the_end_and_a_full_loss_the_start(phi):
    assert apply_hop(phi, 1.0) == 1.0
    assert apply_hop(phi, -1.0) == 0.0


@pytest.mark.parametrize(
    ("p", "q", "hop"), [(0.2, 0.6, 0.5), (0.6, 0.2, -2 / 3), (0.0, 1.0, 1.0), (1.0, 0.0, -1.0), (0.5, 0.25, -0.5)]
)
def test_values_worked_by_hand_from_equation_two(p, q, hop):
    assert hop_from_potentials(p, q) == pytest.approx(hop)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, 7, elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, 7, elements=st.floats(0, 1, width=32)),
)
def test_arrays_give_what_their_elements_give(p, q):
    hop = hop_from_potentials(p, q)
    np.testing.assert_array_equal(hop, [hop_from_potentials(a, b) for a, b in zip(p, q, strict=True)])
    np.testing.assert_array_equal(apply_hop(p, hop), [apply_hop(a, h) for a, h in zip(p, hop, strict=True)])


def test_shapes_broadcast():
    assert hop_from_potentials(0.5, np.zeros((3, 4))).shape == (3, 4)
    assert apply_hop(np.zeros((3, 1)), np.zeros(4)).shape == (3, 4)


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
def test_values_outside_their_range_are_named_in_a_value_error(bad):
    for call in (
        lambda: hop_from_potentials(bad, 0.5),
        lambda: hop_from_potentials(0.5, bad),
        lambda: apply_hop(bad, 0.0),
    ):
        with pytest.raises(ValueError, match=rf"{bad}.*\[0, 1\]"):
            call()
    with pytest.raises(ValueError, match="hop holds"):
        apply_hop(0.5, -1.01 if bad < 0 else bad)
