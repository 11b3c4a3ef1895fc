"""Sluice for Python."""
