"""Running a model on one photo."""
