"""Report parts: how the results of measuring stages are displayed, one file for each stage."""
