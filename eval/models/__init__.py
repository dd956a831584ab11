"""What `eval.pipelines` loads beside the hub's own: published architectures with random weights, and the tiny one."""
