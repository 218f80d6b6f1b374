"""Codecs: things to sequences of elements and back, one file a kind of thing."""
