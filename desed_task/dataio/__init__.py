"""Audio files, annotations, preparation, data sets, batches."""
