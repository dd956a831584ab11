"""The stages of `python -m scripts.gpu`. Each order runs in its own process, `python -m scripts.gpu_stages`."""
