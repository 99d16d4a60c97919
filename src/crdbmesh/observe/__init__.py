"""Readers: find what is there and judge whether it is right; nothing here writes."""
