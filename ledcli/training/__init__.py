"""Training: scenes, crops, one loop, and the methods that use it."""
