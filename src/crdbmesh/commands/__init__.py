"""One use case a file; each returns a value and prints nothing.

Each raises ElsewhereError when the mesh is in another subscription, before anything is changed, and CrdbmeshError when
Azure or the local folder cannot be used at all.
"""
