"""Readable implementations written from the definitions: what the package's networks are checked against."""
