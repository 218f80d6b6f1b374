"""Core: errors, files, hashes, the ledger and registries that every other package uses."""
