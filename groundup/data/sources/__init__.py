"""The sources, one file a kind: each reads files, or generates data, into documents (`read`)."""
