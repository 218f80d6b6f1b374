"""The recipe: every knob, typed."""
