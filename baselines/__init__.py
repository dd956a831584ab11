"""Peer methods, one file each: a `retom.TokenMerger`, or an adapter around the peer's own package."""
