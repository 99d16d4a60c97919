"""Machines over SSH: a verified connection, commands and files."""
