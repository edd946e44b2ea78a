"""The anchor: over wide areas the denoised photo keeps the mean of the noisy one."""
