"""Release: exports for other tools, the lineage of a model, and the report of a run."""
