"""Which methods are generated one image a call: those that rank a whole grid or multiply rounding, where they merge."""

import pytest

from baselines.atc import ATC
from baselines.ca_tome import CAToMe
from baselines.ibtm import IBTM
from baselines.sito import SiTo
from baselines.tofu import ToFu
from baselines.toma import ToMA
from baselines.tomesd import ToMeSD


@pytest.mark.parametrize("kind", [ATC, CAToMe, IBTM, SiTo, ToFu, ToMA, ToMeSD], ids=lambda kind: kind.__name__)
def test_an_image_is_generated_alone_where_tokens_are_merged(kind: type) -> None:
    assert kind().batch_limit == 1
    assert kind(ratio=0.0).batch_limit is None
