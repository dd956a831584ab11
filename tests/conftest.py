"""Fixtures of all folders: the embedded tiny pipeline, built once and handed out as copies; torch's limits."""

import copy

import pytest
import torch
import torch._dynamo.config as dynamo

from eval.generation.models.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def tiny_original():
    """The tiny pipeline itself. Read only: a test that changes anything takes `tiny_pipe`."""
    return tiny_pipeline(seed=0)


@pytest.fixture
def tiny_pipe(tiny_original):
    """A copy of the tiny pipeline that the test may patch, break or configure."""
    parts = {
        name: copy.deepcopy(part) if isinstance(part, torch.nn.Module) else part
        for name, part in tiny_original.components.items()
    }
    parts["scheduler"] = type(tiny_original.scheduler).from_config(tiny_original.scheduler.config)
    pipe = type(tiny_original)(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(autouse=True)
def limits_of_graphs():
    """What compiles by the harness changes torch's limits for its process; the next test finds them as they were."""
    names = ("recompile_limit", "fail_on_recompile_limit_hit")
    with dynamo.patch({name: getattr(dynamo, name) for name in names}):
        yield
