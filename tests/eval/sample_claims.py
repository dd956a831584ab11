"""The claims of conf/claims.yaml as the tests of judging and of the report use them."""

from pathlib import Path

import yaml

from eval.judging.claim import Claim
from eval.judging.no_worse import NoWorse
from eval.tables.spec import better

CONF = Path(__file__).parents[2] / "conf"


def shipped_claims() -> tuple[Claim, ...]:
    """As scripts.finished.claimed reads them, without Hydra."""
    data = yaml.safe_load((CONF / "claims.yaml").read_text(encoding="utf-8"))["claims"]
    return tuple(_claim(text, dict(own)) for text, own in data.items())


def _claim(text: str, own: dict) -> Claim:
    kind = NoWorse if own.pop("_target_", None) else Claim
    return kind(text, better=better(own["metric"]), **own)
