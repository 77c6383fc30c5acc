"""Modes in which many changes become one commit.

Imports the session and what is below it.
"""
