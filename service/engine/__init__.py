"""The process that computes: one version of a model, loaded, warmed up and asked in batches."""
