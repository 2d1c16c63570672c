"""Freezing the source: one immutable archive that every task of a run works on."""
