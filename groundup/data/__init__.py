"""Data: reads or generates documents, cleans and splits them, packs them into shards, and makes training batches."""
