"""Readers: find what is there and judge whether it is right; nothing here writes.

A reader raises CloudError or KubeError when Azure, a cluster's API or the database does not answer.
"""
