"""Inference: tiles, the engine for one photo, the run over a folder."""
