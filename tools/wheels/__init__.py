"""Build the wheels of a release, for several versions of Python and two machines.

``make wheels`` runs it; docs/releasing.md describes a release.
"""
