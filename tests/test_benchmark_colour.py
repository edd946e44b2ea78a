"""Colour differences and the mean error by plane, as tests/benchmarks measures them."""

import numpy as np

from tests.benchmarks.colour_difference import bias, ciede2000, delta_e2000, lab_from_srgb

SHARMA = [
    ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
    ((50.0000, -1.3802, -84.2814), (50.0000, 0.0000, -82.7485), 1.0000),
    ((50.0000, 0.0000, 0.0000), (50.0000, -1.0000, 2.0000), 2.3669),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0009), 7.1792),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0011), 7.2195),
    ((50.0000, -0.0010, 2.4900), (50.0000, 0.0009, -2.4900), 4.8045),
    ((50.0000, -0.0010, 2.4900), (50.0000, 0.0011, -2.4900), 4.7461),
    ((50.0000, 2.5000, 0.0000), (50.0000, 0.0000, -2.5000), 4.3065),
    ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
    ((50.0000, 2.5000, 0.0000), (56.0000, -27.0000, -3.0000), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Pairs of L*a*b* and their CIEDE2000: Sharma, Wu and Dalal (2005), table 1."""


def test_bias_is_signed_and_by_plane():
    planes = np.random.default_rng(3).uniform(0.1, 0.9, (4, 20, 24))
    shift = np.array([0.001, 0, -0.002, 0.5])
    np.testing.assert_allclose(bias(planes + shift[:, None, None], planes), shift, atol=1e-12)


def test_the_published_pairs_of_ciede2000():
    first, second = (np.array([pair[i] for pair in SHARMA]) for i in (0, 1))
    expected = [pair[2] for pair in SHARMA]
    np.testing.assert_allclose(ciede2000(first, second), expected, atol=5e-5)
    np.testing.assert_allclose(ciede2000(second, first), expected, atol=5e-5)


def test_lab_of_the_primaries():
    primaries = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(lab_from_srgb(primaries), expected, atol=0.03)


def test_equal_pictures_do_not_differ_and_a_tint_shows():
    grey = np.full((3, 5, 3), 0.5, np.float32)
    assert delta_e2000(grey, grey).max() == 0
    tinted = grey + np.float32([0.02, 0, 0])
    difference = delta_e2000(grey, tinted)
    assert difference.shape == (3, 5)
    assert 0.5 < difference.min() <= difference.max() < 5
