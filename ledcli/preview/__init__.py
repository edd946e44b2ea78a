"""A preview: crops of photos, noisy and denoised in several ways, before a long run."""
