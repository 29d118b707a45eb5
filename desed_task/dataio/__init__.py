"""Audio, annotations, batches, and the generated data set."""
