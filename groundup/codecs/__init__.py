"""Codecs: text, conversations, images and detections to sequences of elements and back, one file each."""
