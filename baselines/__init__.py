"""Other methods, one file each: a `retom.TokenMerger`, or an adapter around the package of a method."""
