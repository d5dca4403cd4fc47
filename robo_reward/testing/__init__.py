"""Conformance kits that every implementation of an interface runs, and fault tools."""
