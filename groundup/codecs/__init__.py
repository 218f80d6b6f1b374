"""Codecs: encode text, conversations, images and detections as sequences of elements, and decode them."""
