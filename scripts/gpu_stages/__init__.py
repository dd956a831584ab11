"""The stages of `python -m scripts.gpu`. Each runs as `python -m scripts.gpu_stages`, a process that does one order."""
