"""led: a command-line RAW denoiser that is calibrated to a camera with two pairs of shots."""

__version__ = "0.1.0"
