"""What happens between a command and its jobs: composing, mistakes in one sentence, what a configuration may name."""
