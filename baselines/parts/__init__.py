"""What several methods share: matching, clustering, pruning plans, checks of options, traces of other packages."""
