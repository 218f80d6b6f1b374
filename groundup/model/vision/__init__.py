"""The vision encoder and the pretrained vision tower."""
