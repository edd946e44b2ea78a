"""Noise: the ELD physics, cameras, the blind estimate, the stabilising transform."""
